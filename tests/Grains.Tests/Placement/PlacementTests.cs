namespace ObjectStore.Grains.Tests;

public sealed class PlacementTests(SharedCluster shared) : GrainTest(shared)
{
    private readonly string _pool = $"pool{Make.Next()}";

    private IPlacementGrain Pool => Cluster.Grains.GetGrain<IPlacementGrain>(_pool);

    [Fact]
    public async Task Map_OfANewPool_HasGroupsAndNoDrives()
    {
        PlacementMap map = await Pool.GetMapAsync();
        Assert.Equal(0, map.Epoch);
        Assert.Equal(256, map.GroupCount);
        Assert.Empty(map.Drives);
    }

    [Fact]
    public async Task RegisterDrives_RaisesTheEpochOnlyWhenSomethingChanges()
    {
        Assert.Equal(1, (await Pool.RegisterDrivesAsync([Drive("d2"), Drive("d1")])).Epoch);
        Assert.Equal(1, (await Pool.RegisterDrivesAsync([Drive("d1")])).Epoch);
        PlacementMap grown = await Pool.RegisterDrivesAsync([Drive("d1") with { CapacityBytes = 2_000 }, Drive("d3")]);
        Assert.Equal(2, grown.Epoch);
        Assert.Equal(["d1", "d2", "d3"], grown.Drives.Select(drive => drive.DriveId));
        Assert.Equal(2_000, grown.Drives[0].CapacityBytes);
        Assert.Equal(grown.Drives.AsEnumerable(), (await Pool.GetMapAsync()).Drives);
    }

    [Fact]
    public async Task RegisterDrives_FromManyNodesAtOnce_KeepsAll()
    {
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i =>
            Cluster.Grains.GetGrain<IStorageNodeGrain>($"{_pool}/node{i}").RegisterAsync(new NodeRegistration(_pool, [Drive($"d{i}-0"), Drive($"d{i}-1")]))));
        PlacementMap map = await Pool.GetMapAsync();
        Assert.Equal(20, map.Epoch);
        Assert.Equal(40, map.Drives.Length);
    }

    [Fact]
    public async Task Node_IsUpUntilItIsSilentForTheGrace()
    {
        IStorageNodeGrain node = Cluster.Grains.GetGrain<IStorageNodeGrain>($"{_pool}/node");
        Assert.Equal(NodeState.Unknown, (await node.GetStatusAsync()).State);
        await node.RegisterAsync(new NodeRegistration(_pool, [Drive("d1")]));
        NodeStatus registered = await node.GetStatusAsync();
        Assert.Equal(NodeState.Up, registered.State);
        Assert.Equal("d1", Assert.Single(registered.Drives).DriveId);

        Cluster.Time.Advance(TimeSpan.FromSeconds(16));
        Assert.Equal(NodeState.Down, (await node.GetStatusAsync()).State);
        await node.HeartbeatAsync([new DriveReport("d1", 1_000, 400, 3)]);
        NodeStatus back = await node.GetStatusAsync();
        Assert.Equal(NodeState.Up, back.State);
        Assert.Equal(400, Assert.Single(back.Drives).FreeBytes);
        Assert.True(back.LastHeartbeatUnixMs > registered.LastHeartbeatUnixMs);
    }

    private static PlacementDrive Drive(string id) => new(id, "node", "zone/rack/node", 1_000);
}
