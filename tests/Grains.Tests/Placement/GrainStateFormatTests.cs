using System.Text.Json;

namespace ObjectStore.Grains.Tests;

/// <summary>What the grains of the pool keep, against documents that were written by hand from docs/formats/grains.md.</summary>
public sealed class GrainStateFormatTests
{
    // As both runtimes have it.
    private static readonly JsonSerializerOptions Json = new() { IncludeFields = true };

    [Fact]
    public void PlacementState_MatchesTheGoldenDocument()
    {
        PlacementState state = Read<PlacementState>("placement-state.json");
        Assert.Equal([1, 2, 3, 4], state.Map);
        DriveRecord first = state.Drives[0];
        Assert.Equal(("101112131415161718191a1b1c1d1e1f", "host-1", new DriveDomain("eu", "a", "r1", "host-1")), (first.DriveId, first.NodeId, first.Domain));
        Assert.Equal((14901.16, PoolDriveState.Draining, true, 0.3, PoolDriveState.Lost), (first.Weight, first.Ordered, first.IsLost, first.Reduction, first.State));
        Assert.Equal(PoolDriveState.Out, state.Drives[1].State);
        AssertWritten(state, "placement-state.json");
    }

    [Fact]
    public void StorageNodeState_MatchesTheGoldenDocument()
    {
        StorageNodeState state = Read<StorageNodeState>("storage-node-state.json");
        Assert.Equal(("default", 1_760_000_000_000), (state.Pool, state.RegisteredUnixMs));
        Assert.Equal(new PlacementDrive("101112131415161718191a1b1c1d1e1f", new DriveDomain("eu", "a", "r1", "host-1"), 16_000_000_000_000), state.Drives[0]);
        Assert.Equal((0, 2.5), (state.Drives[1].CapacityBytes, state.Drives[1].Weight));
        AssertWritten(state, "storage-node-state.json");
    }

    private static T Read<T>(string name) => JsonSerializer.Deserialize<T>(Golden(name), Json)!;

    private static void AssertWritten<T>(T state, string name)
    {
        string written = JsonSerializer.Serialize(state, Json);
        Assert.True(JsonElement.DeepEquals(JsonDocument.Parse(Golden(name)).RootElement, JsonDocument.Parse(written).RootElement), written);
    }

    private static string Golden(string name)
    {
        using Stream stream = typeof(GrainStateFormatTests).Assembly.GetManifestResourceStream("golden." + name) ?? throw new FileNotFoundException(name);
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}
