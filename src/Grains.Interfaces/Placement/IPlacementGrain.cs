using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>The cluster map of one pool. Key: the pool's name; <c>default</c> is the first.</summary>
[Alias("ObjectStore.IPlacementGrain")]
public interface IPlacementGrain : IGrainWithStringKey
{
    /// <summary>The map as it is.</summary>
    [AlwaysInterleave, Alias("GetMap")]
    Task<PlacementMap> GetMapAsync();

    /// <summary>Adds drives that the map does not know yet, or updates their weight and domain. The epoch rises when anything changed.</summary>
    [Alias("RegisterDrives")]
    Task<PlacementMap> RegisterDrivesAsync(ImmutableArray<PlacementDrive> drives);
}

/// <summary>One storage host. Key: the node's id.</summary>
[Alias("ObjectStore.IStorageNodeGrain")]
public interface IStorageNodeGrain : IGrainWithStringKey
{
    /// <summary>Announces the node and its drives to its pool; repeated at every start.</summary>
    [Alias("Register")]
    Task<PlacementMap> RegisterAsync(NodeRegistration registration);

    /// <summary>Says that the node lives and what its drives hold. A node that is silent for 15 s is down.</summary>
    [Alias("Heartbeat")]
    Task HeartbeatAsync(ImmutableArray<DriveReport> drives);

    /// <summary>What is known of the node.</summary>
    [AlwaysInterleave, Alias("GetStatus")]
    Task<NodeStatus> GetStatusAsync();
}

/// <summary>A drive of the cluster map.</summary>
/// <param name="DriveId">The drive's own id, from its folder.</param>
/// <param name="NodeId">The host it is in.</param>
/// <param name="FailureDomain">zone/rack/host, as the topology names them.</param>
/// <param name="CapacityBytes">Its size in bytes, which is its weight.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PlacementDrive")]
public sealed record PlacementDrive([property: Id(0)] string DriveId, [property: Id(1)] string NodeId, [property: Id(2)] string FailureDomain, [property: Id(3)] long CapacityBytes);

/// <summary>Which drives there are and which placement groups they hold.</summary>
/// <param name="Epoch">Rises with every change.</param>
/// <param name="GroupCount">The number of placement groups; fixed for the life of a pool.</param>
/// <param name="Drives">The drives, by id.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PlacementMap")]
public sealed record PlacementMap([property: Id(0)] long Epoch, [property: Id(1)] int GroupCount, [property: Id(2)] ImmutableArray<PlacementDrive> Drives);

/// <summary>A node's announcement.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.NodeRegistration")]
public sealed record NodeRegistration([property: Id(0)] string Pool, [property: Id(1)] ImmutableArray<PlacementDrive> Drives);

/// <summary>What one drive holds.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveReport")]
public sealed record DriveReport([property: Id(0)] string DriveId, [property: Id(1)] long CapacityBytes, [property: Id(2)] long FreeBytes, [property: Id(3)] long ErrorCount);

/// <summary>A node's state.</summary>
public enum NodeState
{
    /// <summary>Never heard of.</summary>
    Unknown,

    /// <summary>Heard of within the grace.</summary>
    Up,

    /// <summary>Silent for longer than the grace.</summary>
    Down,
}

/// <summary>What is known of a node.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.NodeStatus")]
public sealed record NodeStatus([property: Id(0)] NodeState State, [property: Id(1)] long LastHeartbeatUnixMs, [property: Id(2)] ImmutableArray<DriveReport> Drives);
