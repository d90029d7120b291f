using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Admin.Durability;

/// <summary>What the model is fed with. Defaults say where they come from in the command's help.</summary>
internal sealed record DurabilityInputs
{
    /// <summary>Failures per drive-year. 1.5 % is a little above what Backblaze's drive statistics give for all its drives, 1.3 to 1.5 %.</summary>
    public double AnnualFailureRate { get; init; } = 0.015;

    public double DriveBytes { get; init; } = 16e12;

    /// <summary>Bytes rebuilt in a second, of one lost drive. 500 MB/s is what this store's repair is aimed at, on drives that do not share one device.</summary>
    public double RepairBytesPerSecond { get; init; } = 500e6;

    public string RepairRateSource { get; init; } = "--repair-rate, or its default";

    /// <summary>From the loss of a drive to the beginning of its repair.</summary>
    public TimeSpan OutAfter { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Given directly, instead of being made from size, rate and <see cref="OutAfter"/>.</summary>
    public TimeSpan? RepairTimeGiven { get; init; }

    public RepairDiscipline Repair { get; init; } = RepairDiscipline.Single;

    public int Drives { get; init; } = 36;

    public int Hosts { get; init; } = 12;

    /// <summary>Hosts lost for good in a host-year, with their drives. An assumption: no published figure separates it from outages that end.</summary>
    public double HostAnnualFailureRate { get; init; } = 0.002;

    /// <summary>Placement groups of the pool; of each width in use.</summary>
    public int Groups { get; init; } = MapPlanner.DefaultGroupCount;

    /// <summary>Null: latent errors are left out.</summary>
    public double? BitErrorRate { get; init; }

    public TimeSpan ScrubPeriod { get; init; } = TimeSpan.FromDays(14);

    /// <summary>The mean read load of a drive, which latent errors arise from; Elerath and Pecht (2007) take 1.35e10 bytes an hour for a busy one.</summary>
    public double DriveReadBytesPerSecond { get; init; } = 3.75e6;

    public double ObjectBytes { get; init; } = 1 << 20;

    /// <summary>Instead of those of the storage classes, unless empty.</summary>
    public IReadOnlyList<Scheme> Schemes { get; init; } = [];

    /// <summary>As they are asked for.</summary>
    public IReadOnlyDictionary<string, ClassSchemes> Classes { get; init; } = SchemePolicy.Default.Classes;

    /// <summary>By the number of shards of a group: how many of them each host has, of the group with the most in one; descending. A number that is not there is spread over the hosts evenly.</summary>
    public IReadOnlyDictionary<int, int[]> Spreads { get; init; } = new Dictionary<int, int[]>();

    /// <summary>Where drives, hosts and classes come from, for people.</summary>
    public string PoolSource { get; init; } = "--drives, --hosts and --scheme, or their defaults";

    public TimeSpan RepairTime => RepairTimeGiven ?? OutAfter + TimeSpan.FromSeconds(Math.Min(DriveBytes / RepairBytesPerSecond, 1e10));

    /// <summary>Repairs in a year of 365 days.</summary>
    public double RepairRate => TimeSpan.FromDays(365) / RepairTime;

    /// <summary>As the pool is.</summary>
    public GroupModel Model(Scheme scheme) => Model(scheme, Hosts, HostAnnualFailureRate) with { Spread = Spreads.GetValueOrDefault(scheme.Width) };

    public GroupModel Model(Scheme scheme, int hosts, double hostRate) => new(
        scheme, AnnualFailureRate, RepairRate, hosts, hostRate, Repair,
        BitErrorRate is { } rate ? LatentErrors.From(rate, ObjectBytes / scheme.DataShards, ScrubPeriod, DriveReadBytesPerSecond, DriveBytes) : null);
}
