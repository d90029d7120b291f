#if GRAIN_RUNTIME_ORLEANS
using System.Text;
using ObjectStore.EmbeddedRuntime.State;
using ObjectStore.Silo.Hosting;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace ObjectStore.Grains.Tests;

/// <summary>Grain state of a silo without a shared SQL store.</summary>
public sealed class OrleansGrainStorageTests : IDisposable
{
    private static readonly GrainId Pool = GrainId.Create("placement", "default");
    private readonly string _folder = Directory.CreateTempSubdirectory("objectstore-grains-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task State_IsThereAfterReopening_UnderTheEmbeddedRuntimesNames()
    {
        DriveRecord drive = new() { DriveId = "1", NodeId = "n", Domain = new DriveDomain("re", "z", "ra", "h"), Weight = 2.5, Ordered = PoolDriveState.Removed, IsLost = true };
        using (SqliteGrainStore store = Open())
        {
            OrleansGrainStorage storage = new(store);
            GrainState<PlacementState> fresh = await ReadAsync(storage);
            Assert.Equal((null, false, 0), (fresh.ETag, fresh.RecordExists, fresh.State!.Drives.Count));
            fresh.State = new PlacementState { Map = [1, 2, 3], Drives = [drive] };
            await storage.WriteStateAsync("cluster-map", Pool, fresh);
            Assert.True(fresh.RecordExists);
        }

        using SqliteGrainStore again = Open();
        GrainState<PlacementState> read = await ReadAsync(new OrleansGrainStorage(again));
        Assert.True(read.RecordExists);
        Assert.Equal([1, 2, 3], read.State!.Map);
        Assert.Equal(drive, Assert.Single(read.State!.Drives));
        GrainStateRecord record = (await again.ReadAsync(new GrainStateKey("placement", "cluster-map", "default"), default))!.Value;
        Assert.Equal(read.ETag, record.ETag);
        Assert.StartsWith("{\"Map\":\"AQID\",\"Drives\":[{", Encoding.UTF8.GetString(record.Payload), StringComparison.Ordinal);
    }

    [Fact]
    public async Task OfTwoActivations_TheOneThatIsBehind_WritesAndClearsNothing()
    {
        using SqliteGrainStore store = Open();
        OrleansGrainStorage storage = new(store);
        GrainState<PlacementState> first = await ReadAsync(storage), second = await ReadAsync(storage);
        first.State = new PlacementState { Map = [1] };
        await storage.WriteStateAsync("cluster-map", Pool, first);
        second.State = new PlacementState { Map = [2] };
        await Assert.ThrowsAsync<InconsistentStateException>(() => storage.WriteStateAsync("cluster-map", Pool, second));
        await Assert.ThrowsAsync<InconsistentStateException>(() => storage.ClearStateAsync("cluster-map", Pool, second));
        GrainState<PlacementState> third = await ReadAsync(storage);
        Assert.Equal([1], third.State!.Map);
        await storage.ClearStateAsync("cluster-map", Pool, third);
        Assert.Equal((null, false), (third.ETag, third.RecordExists));
        await Assert.ThrowsAsync<InconsistentStateException>(() => storage.WriteStateAsync("cluster-map", Pool, first));
        Assert.False((await ReadAsync(storage)).RecordExists);
    }

    private static async Task<GrainState<PlacementState>> ReadAsync(OrleansGrainStorage storage)
    {
        GrainState<PlacementState> state = new();
        await storage.ReadStateAsync("cluster-map", Pool, state);
        return state;
    }

    private SqliteGrainStore Open() => SqliteGrainStore.Open(Path.Combine(_folder, "grains.db"));
}
#endif
