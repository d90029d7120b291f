using ObjectStore.Storage.Extents;

namespace ObjectStore.Admin.Durability;

/// <summary>How the lost shards of one group are rebuilt.</summary>
internal enum RepairDiscipline
{
    /// <summary>One at a time, at the rate μ, however many are lost: the lost drives share one measured repair rate.</summary>
    Single,

    /// <summary>All at once, each at the rate μ: a lost drive is rebuilt as fast as if it were the only one.</summary>
    Parallel,
}

/// <summary>Sectors that cannot be read and that nobody knows of yet; see docs/durability.md.</summary>
/// <param name="ShardErrorProbability">That one shard of an object cannot be read when repair needs it.</param>
internal sealed record LatentErrors(double ShardErrorProbability)
{
    /// <param name="bitErrorRate">Unrecoverable errors per bit read, as data sheets give it.</param>
    /// <param name="shardBytes">Bytes of the object on one drive.</param>
    /// <param name="scrubPeriod">Every byte is verified, and mended, once in this time.</param>
    /// <param name="driveReadBytesPerSecond">What is read from a drive on average: errors arise with use (Elerath and Pecht, 2007).</param>
    public static LatentErrors From(double bitErrorRate, double shardBytes, TimeSpan scrubPeriod, double driveReadBytesPerSecond, double driveBytes)
    {
        // Errors arise all over the drive, at the rate of its reads, and stay for half a scrub period on average; one more read is the repair's own.
        double readsOfEachByte = 1 + (driveReadBytesPerSecond * scrubPeriod.TotalSeconds / 2 / driveBytes);
        return new LatentErrors(LogNumber.From(bitErrorRate * 8 * shardBytes * readsOfEachByte).ToProbability().ToDouble());
    }
}

/// <summary>
/// One placement group: its shards, where they are, and what happens to them. Rates are per year.
/// </summary>
/// <param name="DriveFailureRate">Of one drive; the AFR as failures per drive-year.</param>
/// <param name="RepairRate">1 / the mean time from a shard's loss until it is rebuilt.</param>
/// <param name="Hosts">The hosts (or racks: whichever domain is meant) that the shards are spread over, as evenly as may be. More than there are shards is one shard each.</param>
/// <param name="HostFailureRate">Of one host, with the loss of every drive in it. 0: hosts are never lost.</param>
/// <param name="Latent">Null: every shard that is not lost can be read.</param>
internal sealed record GroupModel(
    Scheme Scheme, double DriveFailureRate, double RepairRate, int Hosts, double HostFailureRate = 0, RepairDiscipline Repair = RepairDiscipline.Single, LatentErrors? Latent = null)
{
    /// <summary>Shards of each host, descending, where they are not spread evenly over <see cref="Hosts"/>.</summary>
    public int[]? Spread { get; init; }

    public int ShardsPerHost => Spread?[0] ?? (Scheme.Width + UsedHosts - 1) / UsedHosts;

    public int UsedHosts => Spread?.Length ?? Math.Min(Hosts, Scheme.Width);
}
