#if GRAIN_RUNTIME_EMBEDDED
using Microsoft.Extensions.DependencyInjection;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Grains.Tests;

/// <summary>The map when its write fails. The embedded runtime's store can be made to fail; what the grain does is the same on both.</summary>
public sealed class PlacementStateFaultTests
{
    public enum Fault
    {
        /// <summary>Nothing is stored, and the grain hears of it.</summary>
        Refused,

        /// <summary>It is stored, and the grain does not hear of it.</summary>
        AnswerLost,

        /// <summary>Another activation was faster.</summary>
        RaceLost,
    }

    [Theory]
    [InlineData(Fault.Refused, 1)]
    [InlineData(Fault.AnswerLost, 2)]
    [InlineData(Fault.RaceLost, 1)]
    public async Task SetDrive_WhenTheWriteFails_Throws_AndTheMapIsWhatIsStored(Fault fault, long epoch)
    {
        FaultyStateStore store = new();
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 8 }, configure: services => services.AddSingleton<IGrainStateStore>(store));
        IPlacementGrain pool = cluster.Grains.GetGrain<IPlacementGrain>("pool");
        PlacementDrive[] drives = [.. Enumerable.Range(1, 4).Select(number => new PlacementDrive(new Guid(number, 0, 0, new byte[8]).ToString("N"), new DriveDomain("re", "z", "ra", "h"), 100L << 30))];
        await pool.RegisterDrivesAsync(new NodeRegistration("pool", "n", [.. drives]));

        store.Next = fault;
        await Assert.ThrowsAnyAsync<Exception>(() => pool.SetDriveAsync(drives[0].DriveId, DriveOrder.Drain));

        // Nobody has seen another map than the stored one, and the next change goes on from it.
        PlacementMap stored = (await pool.GetMapAsync())!;
        Assert.Equal(epoch, stored.Epoch);
        Assert.Equal(epoch == 2, ClusterMapFormat.Decode(stored.Encoded).Drives[0].Weight == 0);
        Assert.Equal(epoch + 1, (await pool.SetDriveAsync(drives[1].DriveId, DriveOrder.Drain)).Epoch);
    }

    [Fact]
    public async Task RegisterNode_WhoseWatchCannotBeWritten_GivesThePoolNoDrive()
    {
        FaultyStateStore store = new() { Only = "storage-node" };
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 8 }, configure: services => services.AddSingleton<IGrainStateStore>(store));
        NodeRegistration registration = new("pool", "n", [Drive(1), Drive(2)]);
        store.Next = Fault.Refused;
        await Assert.ThrowsAnyAsync<Exception>(() => cluster.Grains.GetGrain<IStorageNodeGrain>("n").RegisterAsync(registration));
        Assert.Empty(await cluster.Grains.GetGrain<IPlacementGrain>("pool").GetDrivesAsync());
        await cluster.Grains.GetGrain<IStorageNodeGrain>("n").RegisterAsync(registration);
        Assert.Equal(2, (await cluster.Grains.GetGrain<IPlacementGrain>("pool").GetDrivesAsync()).Length);
    }

    /// <summary>As after a crash between the two: the node's host never comes back.</summary>
    [Fact]
    public async Task RegisterNode_WhosePoolAnswersNoMore_HasItsDrivesMissedAllTheSame()
    {
        FaultyStateStore store = new() { Only = "placement" };
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 8 }, configure: services => services.AddSingleton<IGrainStateStore>(store));
        await cluster.Grains.GetGrain<IStorageNodeGrain>("other").RegisterAsync(new NodeRegistration("pool", "other", [Drive(2), Drive(3)]));
        store.Next = Fault.AnswerLost;
        await Assert.ThrowsAnyAsync<Exception>(() => cluster.Grains.GetGrain<IStorageNodeGrain>("n").RegisterAsync(new NodeRegistration("pool", "n", [Drive(1)])));
        IPlacementGrain pool = cluster.Grains.GetGrain<IPlacementGrain>("pool");
        Assert.Contains(await pool.GetDrivesAsync(), drive => drive.NodeId == "n" && drive.State == PoolDriveState.In);
        cluster.Time.Advance(TimeSpan.FromMinutes(11));
        await cluster.Grains.GetGrain<IStorageNodeGrain>("n").CheckAsync();
        Assert.Contains(await pool.GetDrivesAsync(), drive => drive.NodeId == "n" && drive.State == PoolDriveState.Lost);
    }

    [Fact]
    public async Task NodesSilence_WhileTheProcessStoodStill_CostsItNoDrive_AndWhatItWasSilentForBesidesCounts()
    {
        SetPulse pulse = new();
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { PlacementGroups = 8 }, configure: services => services.AddSingleton<IProcessPulse>(pulse));
        await cluster.Grains.GetGrain<IStorageNodeGrain>("other").RegisterAsync(new NodeRegistration("pool", "other", [Drive(2), Drive(3), Drive(4)]));
        IStorageNodeGrain node = cluster.Grains.GetGrain<IStorageNodeGrain>("n");
        await node.RegisterAsync(new NodeRegistration("pool", "n", [Drive(1), Drive(5)]));
        await node.HeartbeatAsync(new NodeHeartbeat(0, [new DriveReport(Drive(1).DriveId, 1L << 30, 1L << 30, 0), new DriveReport(Drive(5).DriveId, 1L << 30, 1L << 30, 0, DriveCondition.Failed)]));
        cluster.Time.Advance(TimeSpan.FromMinutes(11));
        pulse.StoodStill = TimeSpan.FromMinutes(9);
        await node.CheckAsync();
        IPlacementGrain pool = cluster.Grains.GetGrain<IPlacementGrain>("pool");
        Assert.All(await pool.GetDrivesAsync(), drive => Assert.Equal(PoolDriveState.In, drive.State));
        cluster.Time.Advance(TimeSpan.FromMinutes(9));
        await node.CheckAsync();
        Assert.Equal(2, (await pool.GetDrivesAsync()).Count(drive => drive.State == PoolDriveState.Lost));
    }

    private static PlacementDrive Drive(int number) => new(new Guid(number, 0, 0, new byte[8]).ToString("N"), new DriveDomain("re", "z", "ra", "h" + number), 100L << 30);

    private sealed class SetPulse : IProcessPulse
    {
        public TimeSpan StoodStill { get; set; }

        public TimeSpan StoodStillSince(long timestamp) => StoodStill;
    }

    private sealed class FaultyStateStore : IGrainStateStore
    {
        private readonly InMemoryGrainStateStore _inner = new();

        public Fault? Next { get; set; }

        /// <summary>Of which grains the writes fail; null for all.</summary>
        public string? Only { get; init; }

        public ValueTask<GrainStateRecord?> ReadAsync(GrainStateKey key, CancellationToken cancellationToken) => _inner.ReadAsync(key, cancellationToken);

        public async ValueTask<GrainStateResult> WriteAsync(GrainStateKey key, ReadOnlyMemory<byte> payload, string? expectedETag, CancellationToken cancellationToken)
        {
            Fault? fault = Only is null || key.GrainType == Only ? Next : null;
            if (fault is not null)
                Next = null;
            switch (fault)
            {
                case Fault.Refused:
                    throw new IOException("The disk is full.");
                case Fault.AnswerLost:
                    await _inner.WriteAsync(key, payload, expectedETag, cancellationToken);
                    throw new IOException("The answer was lost.");
                case Fault.RaceLost:
                    GrainStateRecord stored = (await _inner.ReadAsync(key, cancellationToken))!.Value;
                    await _inner.WriteAsync(key, stored.Payload, expectedETag, cancellationToken);
                    break;
            }

            return await _inner.WriteAsync(key, payload, expectedETag, cancellationToken);
        }

        public ValueTask<GrainStateResult> ClearAsync(GrainStateKey key, string? expectedETag, CancellationToken cancellationToken) => _inner.ClearAsync(key, expectedETag, cancellationToken);
    }
}
#endif
