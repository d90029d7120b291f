using System.Collections.Immutable;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.Grains;

/// <summary>
/// One storage host. Its registration is durable; when it was last heard of is not, since a heartbeat every few seconds is not worth a write. So
/// an activation that has not heard of a registered node says Unknown for the length of the grace, and Down after it.
/// </summary>
[GrainType("storage-node")]
public sealed class StorageNodeGrain(
    [PersistentState("node", GrainStorageNames.Metadata)] IPersistentState<StorageNodeState> state,
    GrainOptions options,
    TimeProvider time) : Grain, IStorageNodeGrain
{
    private readonly long _activatedAt = time.GetTimestamp();
    private long? _heardAt;
    private long _heardUnixMs;
    private ImmutableArray<DriveReport> _reports = [];

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _heardUnixMs = state.State.RegisteredUnixMs;
        _reports = [.. state.State.Drives.Select(static drive => new DriveReport(drive.DriveId, drive.CapacityBytes, FreeBytes: 0, ErrorCount: 0))];
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<PlacementMap> RegisterAsync(NodeRegistration registration)
    {
        PlacementMap map = await GrainFactory.GetGrain<IPlacementGrain>(registration.Pool).RegisterDrivesAsync(registration.Drives);
        if (state.State.Pool != registration.Pool || !state.State.Drives.SequenceEqual(registration.Drives))
        {
            state.State = new StorageNodeState { Pool = registration.Pool, Drives = [.. registration.Drives], RegisteredUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds() };
            try
            {
                await state.WriteStateAsync();
            }
            catch
            {
                DeactivateOnIdle();
                throw;
            }
        }

        Dictionary<string, DriveReport> known = _reports.ToDictionary(static report => report.DriveId, StringComparer.Ordinal);
        _reports = [.. registration.Drives.Select(drive => known.GetValueOrDefault(drive.DriveId) ?? new DriveReport(drive.DriveId, drive.CapacityBytes, FreeBytes: 0, ErrorCount: 0))];
        Hear();
        return map;
    }

    /// <inheritdoc/>
    public Task HeartbeatAsync(ImmutableArray<DriveReport> drives)
    {
        _reports = drives;
        Hear();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<NodeStatus> GetStatusAsync() => Task.FromResult(new NodeStatus(StateNow(), _heardUnixMs, _reports));

    private NodeState StateNow()
    {
        if (_heardAt is { } heardAt)
            return time.GetElapsedTime(heardAt) <= options.NodeGrace ? NodeState.Up : NodeState.Down;
        return state.RecordExists && time.GetElapsedTime(_activatedAt) > options.NodeGrace ? NodeState.Down : NodeState.Unknown;
    }

    private void Hear()
    {
        _heardAt = time.GetTimestamp();
        _heardUnixMs = time.GetUtcNow().ToUnixTimeMilliseconds();
    }
}

/// <summary>The stored registration of a node.</summary>
[GenerateSerializer, Alias("ObjectStore.StorageNodeState")]
public sealed class StorageNodeState
{
    /// <summary>The pool the node's drives are in.</summary>
    [Id(0)] public string Pool { get; set; } = "";

    /// <summary>Its drives, as announced.</summary>
    [Id(1)] public List<PlacementDrive> Drives { get; set; } = [];

    /// <summary>When this registration was first made, in Unix milliseconds.</summary>
    [Id(2)] public long RegisteredUnixMs { get; set; }
}
