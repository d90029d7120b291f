namespace ObjectStore.Storage.Drives;

/// <summary>How often a drive has failed since it was opened.</summary>
/// <param name="CorruptFragments">Each fragment once, however often it was read, and at most <see cref="DriveErrors.MaxCorruptPerVolume"/> of one volume: one lost volume is not a failing drive.</param>
public readonly record struct DriveErrorCounts(long IoErrors, long PoisonedVolumes, long CorruptFragments)
{
    public static DriveErrorCounts operator -(DriveErrorCounts left, DriveErrorCounts right)
        => new(left.IoErrors - right.IoErrors, left.PoisonedVolumes - right.PoisonedVolumes, left.CorruptFragments - right.CorruptFragments);

    public long Total => IoErrors + PoisonedVolumes + CorruptFragments;
}

/// <summary>Counts the errors of one opened drive. Thread-safe, never blocks on the drive.</summary>
internal sealed class DriveErrors
{
    public const int MaxCorruptPerVolume = 8;
    private readonly Lock _lock = new();
    private readonly Dictionary<long, HashSet<long>> _corrupt = []; // offsets by volume, bounded by MaxCorruptPerVolume each
    private long _ioErrors;
    private long _poisonedVolumes;
    private long _corruptFragments;

    public DriveErrorCounts Counts => new(Interlocked.Read(ref _ioErrors), Interlocked.Read(ref _poisonedVolumes), Interlocked.Read(ref _corruptFragments));

    public void CountIoError() => Interlocked.Increment(ref _ioErrors);

    public void CountPoisonedVolume() => Interlocked.Increment(ref _poisonedVolumes);

    public void CountCorruptFragment(long volumeId, long offset)
    {
        lock (_lock)
        {
            if (!_corrupt.TryGetValue(volumeId, out HashSet<long>? offsets))
                _corrupt[volumeId] = offsets = [];
            if (offsets.Count < MaxCorruptPerVolume && offsets.Add(offset))
                Interlocked.Increment(ref _corruptFragments);
        }
    }
}
