using System.Collections.Concurrent;
using ObjectStore.EmbeddedRuntime.Simulation;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Simulation;
using ObjectStore.Testing;

namespace ObjectStore.Maintenance.Tests.Fixtures;

/// <summary>
/// What survives a power cut: the media of simulated drives, the metadata, the cluster map; and what clients were told. On it runs one <see cref="PoolProcess"/> after the other, with the real
/// drives, extent store, repair and compaction. All of the machine has one power: it is cut before a drive's write, sync, creation, deletion or truncation of a file, or before or just after a
/// change of the metadata or of the map takes effect. Of what a drive had not synced then, each sector is there or not.
/// </summary>
internal sealed class SimulatedPool : IAsyncDisposable
{
    public static readonly Scheme[] Schemes = [Scheme.Copies(3), new Scheme(4, 2)];
    public const int SmallBelowBytes = 4 << 10;
    private const int Groups = 3;
    private static readonly FailureDomain Machine = new("region", "zone", "rack", "host");

    private readonly string _folder = Directory.CreateTempSubdirectory("objectstore-pool-").FullName;
    private readonly Random _random;
    private readonly List<SimulatedDrive> _drives = [];
    private readonly List<MappedDrive> _mapped = [];
    private readonly HashSet<Guid> _lost = [];
    private readonly StorageOptions _options;
    private long _steps;
    private long _cutBefore = long.MaxValue;
    private volatile TaskCompletionSource _cut = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile ClusterMap? _map;

    public SimulatedPool(int seed, int drives)
    {
        _random = new Random(seed);
        for (int i = 0; i < drives; i++)
            _drives.Add(new SimulatedDrive((seed * 100) + i, 64 << 20, Path.Combine(_folder, $"index-{i}.db")));
        _options = new StorageOptions
        {
            VolumeSizeBytes = 512 << 10,
            BlockSizeBytes = 64 << 10,
            ShardSizeBytes = 64 << 10,
            WritersPerDrive = 1,
            HeadroomBytes = 0,
            IndexFlushEntries = 8,
            IndexFlushBytes = 256 << 10,
            LocationCacheEntries = 16,
            ClusterId = new Guid(7, 7, 7, new byte[8]),
            Schemes = new SchemePolicy([KeyValuePair.Create(SchemePolicy.Standard, new ClassSchemes(Schemes[0], Schemes[1], SmallBelowBytes))]),
        };
    }

    public VirtualTimeProvider Time { get; } = new();

    public InMemoryMetadataStore Metadata { get; } = new();

    public BucketId Bucket { get; private set; }

    public RangeLease Lease { get; private set; } = null!;

    /// <summary>As its owner has it, durably; a process may know an older one.</summary>
    public ClusterMap Map => _map!;

    public PoolProcess Process { get; private set; } = null!;

    /// <summary>What clients were told is stored, and not deleted.</summary>
    public ConcurrentDictionary<ExtentId, TestExtent> Live { get; } = [];

    /// <summary>What a client asked for when the power was cut: the metadata says which side of it came true.</summary>
    public ConcurrentDictionary<ExtentId, (TestExtent Extent, bool IsDeletion)> Open { get; } = [];

    /// <summary>Extents whose deletion clients were told of.</summary>
    public ConcurrentDictionary<ExtentId, TestExtent> Deleted { get; } = [];

    /// <summary>Fragments that were deleted before the copy that takes their place was safe.</summary>
    public ConcurrentQueue<string> Violations { get; } = [];

    public IReadOnlyList<MappedDrive> Mapped => _mapped;

    public long Steps => Interlocked.Read(ref _steps);

    public bool IsCut => _cut.Task.IsCompleted;

    /// <summary>Completes when the power goes.</summary>
    public Task Cut => _cut.Task;

    public StorageOptions Options => _options;

    /// <summary>64 random bits. Thread-safe.</summary>
    public ulong NextRandom()
    {
        lock (_random)
            return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }

    public int Next(int below)
    {
        lock (_random)
            return _random.Next(below);
    }

    /// <summary>Formats the drives and makes the first map over all but the last <paramref name="spare"/>.</summary>
    public async Task StartAsync(int spare)
    {
        Bucket = (await Metadata.CreateBucketAsync("bucket", "owner", "region", 1)).Bucket.Id;
        Lease = (await Metadata.AcquireRangeAsync(Bucket, 1))!;
        LocalDrives drives = OpenDrives();
        _mapped.AddRange(drives.Drives.Select(drive => new MappedDrive(drive.DriveId, 100, Machine)));
        _map = MapPlanner.Plan(null, [.. _mapped.SkipLast(spare)], Groups, Schemes);
        Process = new PoolProcess(this, drives, []);
        await Process.StartAsync();
    }

    /// <summary>The power goes before the machine has made so many steps more.</summary>
    public void CutAfter(long steps) => Interlocked.Exchange(ref _cutBefore, steps > long.MaxValue / 2 ? long.MaxValue : Interlocked.Read(ref _steps) + steps);

    /// <summary>Asked before every step. False from the cut on.</summary>
    public bool HasPower()
    {
        if (IsCut || Interlocked.Increment(ref _steps) > Interlocked.Read(ref _cutBefore))
            _cut.TrySetResult();
        return !IsCut;
    }

    /// <summary>Ends the process as a power cut does, at once, and starts the next one on what is on the media. Some indexes are lost with it.</summary>
    public async Task RestartAsync(bool loseIndexes)
    {
        _cut.TrySetResult();
        await Process.DieAsync();
        for (int i = 0; i < _drives.Count; i++)
        {
            _drives[i].PowerCut();
            if (loseIndexes && Next(3) == 0)
                DeleteIndex(i);
        }

        Interlocked.Exchange(ref _cutBefore, long.MaxValue);
        _cut = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Process = new PoolProcess(this, OpenDrives(), _lost);
        await Process.StartAsync();

        // What was open when the power went has happened or not; the metadata knows.
        foreach ((TestExtent extent, bool isDeletion) in Open.Values)
        {
            if (await Metadata.ReadVersionAsync(Bucket, extent.Key, extent.Version) is not null)
                Live[extent.Id] = extent;
            else if (isDeletion)
                Deleted[extent.Id] = extent;
        }

        Open.Clear();
    }

    /// <summary>Flips a bit on a drive's medium.</summary>
    public void FlipBit(Guid drive, long volumeId, long offset, int bit) => _drives[_mapped.FindIndex(mapped => mapped.Id == drive)].FlipBit(volumeId, offset, bit);

    /// <summary>Flips a bit on a drive's medium under a page that is in memory.</summary>
    public void RotBit(Guid drive, long volumeId, long offset, int bit) => _drives[_mapped.FindIndex(mapped => mapped.Id == drive)].RotBit(volumeId, offset, bit);

    public void SetMap(ClusterMap map) => _map = map;

    /// <summary>A drive with all that it held is gone, and others get its slots.</summary>
    public void Lose(Guid drive)
    {
        _lost.Add(drive);
        Process.Lose(drive);
        Change(drive, mapped => mapped with { Weight = 0, IsReadable = false });
    }

    public void Drain(Guid drive) => Change(drive, mapped => mapped with { Weight = 0 });

    /// <summary>Drives that were kept in reserve get their share.</summary>
    public void Join() => Plan();

    public IReadOnlyList<GroupSlot> SlotsOf(TestExtent extent) => Map.SlotsOf(new PlacementGroupId(extent.Group));

    public int IncompleteSlots => Map.Groups.Sum(group => Map.SlotsOf(group).Count(slot => !slot.IsComplete));

    public async ValueTask DisposeAsync()
    {
        _cut.TrySetResult();
        try
        {
            await Process.DieAsync();
        }
        finally
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    private LocalDrives OpenDrives()
    {
        foreach (SimulatedDrive drive in _drives)
            drive.Faults = new FaultPlan { HasPower = HasPower };
        return LocalDrives.Open(
            [.. _drives.Where((_, i) => i >= _mapped.Count || !_lost.Contains(_mapped[i].Id))], new EngineServices(_options, Time, NextRandom, NoStorageEvents.Instance, Threaded: true));
    }

    private void DeleteIndex(int drive)
    {
        foreach (string file in Directory.GetFiles(_folder, $"index-{drive}.db*"))
            File.Delete(file);
    }

    private void Change(Guid drive, Func<MappedDrive, MappedDrive> change)
    {
        int at = _mapped.FindIndex(mapped => mapped.Id == drive);
        _mapped[at] = change(_mapped[at]);
        Plan(_mapped.Count - Map.Drives.Count);
    }

    private void Plan(int spare = 0)
    {
        _map = MapPlanner.Plan(_map, [.. _mapped.SkipLast(spare)], Map.GroupCount, Schemes);
        Process.SeeMap();
    }
}
