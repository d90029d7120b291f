using System.Collections.Immutable;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.Grains;

/// <summary>The cluster map of a pool. A change is seen by readers when it is durable, not before.</summary>
[GrainType("placement")]
public sealed class PlacementGrain(
    [PersistentState("map", GrainStorageNames.Metadata)] IPersistentState<PlacementState> state,
    GrainOptions options) : Grain, IPlacementGrain
{
    private PlacementMap _map = new(0, 0, []);

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (!state.RecordExists)
            state.State = new PlacementState { GroupCount = options.PlacementGroups };
        _map = MapOf(state.State);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<PlacementMap> GetMapAsync() => Task.FromResult(_map);

    /// <inheritdoc/>
    public async Task<PlacementMap> RegisterDrivesAsync(ImmutableArray<PlacementDrive> drives)
    {
        SortedDictionary<string, PlacementDrive> byId = new(StringComparer.Ordinal);
        foreach (PlacementDrive drive in _map.Drives)
            byId.Add(drive.DriveId, drive);
        bool isChanged = false;
        foreach (PlacementDrive drive in drives)
        {
            isChanged |= !byId.TryGetValue(drive.DriveId, out PlacementDrive? known) || known != drive;
            byId[drive.DriveId] = drive;
        }

        if (!isChanged)
            return _map;
        state.State = new PlacementState { Epoch = _map.Epoch + 1, GroupCount = _map.GroupCount, Drives = [.. byId.Values] };
        try
        {
            await state.WriteStateAsync();
        }
        catch
        {
            // It may have been written, or another activation has: the next activation reads what there is.
            DeactivateOnIdle();
            throw;
        }

        return _map = MapOf(state.State);
    }

    private static PlacementMap MapOf(PlacementState state) => new(state.Epoch, state.GroupCount, [.. state.Drives]);
}

/// <summary>The stored cluster map.</summary>
[GenerateSerializer, Alias("ObjectStore.PlacementState")]
public sealed class PlacementState
{
    /// <summary>Rises with every change.</summary>
    [Id(0)] public long Epoch { get; set; }

    /// <summary>The number of placement groups, as it was when the pool was made.</summary>
    [Id(1)] public int GroupCount { get; set; }

    /// <summary>By drive id, ordinal.</summary>
    [Id(2)] public List<PlacementDrive> Drives { get; set; } = [];
}
