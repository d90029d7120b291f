namespace ObjectStore.Maintenance.Compaction;

/// <param name="Volumes">Volumes that were rewritten and deleted.</param>
/// <param name="CopiedBytes">Live bytes written anew.</param>
/// <param name="FreedBytes">Bytes given back to the file system, without what was written anew.</param>
public readonly record struct CompactionResult(int Volumes, long CopiedBytes, long FreedBytes);

/// <summary>A drive whose sealed volumes can be rewritten without their garbage. Thread-safe; one compaction runs at a time.</summary>
public interface ICompactableDrive
{
    Guid DriveId { get; }

    /// <summary>
    /// Rewrites sealed volumes of which at least such a share is garbage, the most garbage first. Every step leaves all fragments readable and a crash at any point loses none. May be
    /// cancelled between two fragments.
    /// </summary>
    /// <param name="pace">Awaited after so many bytes were copied, with their number.</param>
    ValueTask<CompactionResult> CompactAsync(double minimumGarbageRatio, Func<long, CancellationToken, ValueTask> pace, CancellationToken cancellationToken = default);
}
