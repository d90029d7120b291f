using System.Globalization;

namespace ObjectStore.EmbeddedRuntime.State;

/// <summary>Keeps grain state as long as this object lives: for tests and simulation. Completes synchronously.</summary>
public sealed class InMemoryGrainStateStore : IGrainStateStore
{
    private readonly Dictionary<GrainStateKey, GrainStateRecord> _records = [];
    private long _version;

    public ValueTask<GrainStateRecord?> ReadAsync(GrainStateKey key, CancellationToken cancellationToken)
    {
        lock (_records)
            return new(_records.TryGetValue(key, out GrainStateRecord record) ? record with { Payload = (byte[])record.Payload.Clone() } : null);
    }

    public ValueTask<GrainStateResult> WriteAsync(GrainStateKey key, ReadOnlyMemory<byte> payload, string? expectedETag, CancellationToken cancellationToken)
    {
        lock (_records)
        {
            string? stored = _records.TryGetValue(key, out GrainStateRecord record) ? record.ETag : null;
            if (stored != expectedETag)
                return new(new GrainStateResult(false, stored));
            string etag = (++_version).ToString(CultureInfo.InvariantCulture);
            _records[key] = new GrainStateRecord(payload.ToArray(), etag);
            return new(new GrainStateResult(true, etag));
        }
    }

    public ValueTask<GrainStateResult> ClearAsync(GrainStateKey key, string? expectedETag, CancellationToken cancellationToken)
    {
        lock (_records)
        {
            string? stored = _records.TryGetValue(key, out GrainStateRecord record) ? record.ETag : null;
            if (stored != expectedETag)
                return new(new GrainStateResult(false, stored));
            _records.Remove(key);
            return new(new GrainStateResult(true, null));
        }
    }
}
