namespace ObjectStore.EmbeddedRuntime.State;

/// <summary>Names one stored record.</summary>
public readonly record struct GrainStateKey(string GrainType, string StateName, string GrainKey);

/// <summary>A stored record. The payload belongs to the reader.</summary>
public readonly record struct GrainStateRecord(byte[] Payload, string ETag);

/// <summary>What became of a compare-and-swap.</summary>
/// <param name="Succeeded">Whether the change was made.</param>
/// <param name="ETag">The record's ETag now, null where there is no record: after success the new one, after a conflict the stored one.</param>
public readonly record struct GrainStateResult(bool Succeeded, string? ETag);

/// <summary>
/// Keeps grain state. Each change is atomic, is a compare-and-swap on the ETag, and is durable when its task completes (as far as the
/// implementation keeps anything). Safe for concurrent use.
/// </summary>
public interface IGrainStateStore
{
    ValueTask<GrainStateRecord?> ReadAsync(GrainStateKey key, CancellationToken cancellationToken);

    /// <summary>Stores a payload where the record's ETag is <paramref name="expectedETag"/>, or where there is no record and that is null.</summary>
    /// <param name="key">The record.</param>
    /// <param name="payload">Must not be changed until the task completes.</param>
    /// <param name="expectedETag">The ETag of the record to replace.</param>
    /// <param name="cancellationToken">Abandons the wait; the write may still happen.</param>
    ValueTask<GrainStateResult> WriteAsync(GrainStateKey key, ReadOnlyMemory<byte> payload, string? expectedETag, CancellationToken cancellationToken);

    /// <summary>Removes a record under the same condition. Removing what is not there, with a null ETag, succeeds.</summary>
    ValueTask<GrainStateResult> ClearAsync(GrainStateKey key, string? expectedETag, CancellationToken cancellationToken);
}
