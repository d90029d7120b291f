using System.Collections.Immutable;
using Orleans;
using Orleans.Concurrency;

namespace ObjectStore.Grains;

/// <summary>
/// The cluster map of one pool. Key: the pool's name; <c>default</c> is the first. Every change is durable before it is answered or seen, has a higher epoch, and has been checked against the
/// rules of placement: one that would gather shards more than the topology forces is never made.
/// </summary>
[Alias("ObjectStore.IPlacementGrain")]
public interface IPlacementGrain : IGrainWithStringKey
{
    /// <summary>The map, or null where it still has the epoch that the caller knows. A pool without drives has epoch 0 and no map.</summary>
    [AlwaysInterleave, Alias("GetMap")]
    Task<PlacementMap?> GetMapAsync(long knownEpoch = -1);

    /// <summary>The drives, by id, with what the pool thinks of them; those that were removed too.</summary>
    [AlwaysInterleave, Alias("GetDrives")]
    Task<ImmutableArray<PoolDrive>> GetDrivesAsync();

    /// <summary>
    /// Adds drives that the pool does not know yet, updates the weight and domain of others, and takes back those that were lost. A capacity that differs by less than 5 % changes nothing.
    /// A drive that an operator drained, took out or removed stays so.
    /// </summary>
    /// <exception cref="ArgumentException">A drive's id is not one, or the map that the node knows is damaged.</exception>
    [Alias("RegisterDrives")]
    Task<PlacementMap> RegisterDrivesAsync(NodeRegistration registration);

    /// <summary>What a node's grain finds: drives that have been down for too long, and drives that are back.</summary>
    [Alias("ReportDrives")]
    Task<ImmutableArray<DriveChange>> ReportDrivesAsync(ImmutableArray<DriveVerdict> verdicts);

    /// <summary>
    /// What the drives of a node hold, told every minute. One that stays full while others have room loses a tenth of its share at a time, or as many as it takes that something moves, and gets it back when
    /// it would still be about as empty as they are: <see cref="PoolDrive.Reduction"/>. Nothing is changed that would break a rule of placement.
    /// </summary>
    [Alias("ReportSpace")]
    Task ReportSpaceAsync(ImmutableArray<DriveSpace> drives);

    /// <summary>
    /// Sees to it that the map has groups for a scheme, narrowed to the drives that take writes now. Asked before the first extent of a width is written, so that a pool has groups only of
    /// widths that are in use: those of a width as great as the number of drives leave no drive to take the place of one that drains or is lost. Durable when it is answered. The answer is the
    /// map; it is without such groups only where no drive takes writes.
    /// </summary>
    /// <param name="scheme">k × 256 + m, as it is configured.</param>
    /// <exception cref="ArgumentException">There is no such scheme.</exception>
    [Alias("RequireGroups")]
    Task<PlacementMap> RequireGroupsAsync(int scheme);

    /// <summary>What an operator orders for one drive.</summary>
    /// <param name="force">Drains the drive, or takes it out, although fewer drives would be left than the widest groups have shards: some of these are then without a drive until one is added.</param>
    [Alias("SetDrive.2")]
    Task<DriveChange> SetDriveAsync(string driveId, DriveOrder order, bool force = false);

    /// <summary>
    /// Marks slots as filled. One is passed over where it has another drive by now, or had one at any time since the map that the filling went by: see
    /// <see cref="FilledSlot.Epoch"/>. A batch makes one epoch.
    /// </summary>
    [Alias("CompleteSlots")]
    Task<CompletedSlots> CompleteSlotsAsync(ImmutableArray<FilledSlot> slots);
}

/// <summary>One storage host. Key: the node's id.</summary>
[Alias("ObjectStore.IStorageNodeGrain")]
public interface IStorageNodeGrain : IGrainWithStringKey
{
    /// <summary>
    /// Announces the node and its drives to its pool; repeated at every start. Answers with the pool's map. A drive that the node had before and does not announce is still its own: it is down.
    /// </summary>
    [Alias("Register")]
    Task<PlacementMap> RegisterAsync(NodeRegistration registration);

    /// <summary>
    /// Says every 5 s that the node lives and how its drives are. Answers with the pool's map where that is not the one that the node knows. A node that is silent for 15 s is down. A drive
    /// that was registered and is not reported, or is reported as failed, is down at once.
    /// </summary>
    [Alias("Heartbeat")]
    Task<PlacementMap?> HeartbeatAsync(NodeHeartbeat heartbeat);

    /// <summary>What is known of the node.</summary>
    [AlwaysInterleave, Alias("GetStatus")]
    Task<NodeStatus> GetStatusAsync();

    /// <summary>Looks for what is overdue, as the grain does every few seconds by itself: drives that have been down for too long are taken out of the map.</summary>
    [Alias("Check")]
    Task CheckAsync();
}

/// <summary>A drive as its node announces it.</summary>
/// <param name="DriveId">The drive's own id, from its folder: a GUID.</param>
/// <param name="Domain">Where it stands.</param>
/// <param name="CapacityBytes">Its size; 0 where it is unknown at present.</param>
/// <param name="Weight">Its share beside others, where the topology names one; null takes the capacity in GiB.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PlacementDrive.2")]
public sealed record PlacementDrive([property: Id(0)] string DriveId, [property: Id(1)] DriveDomain Domain, [property: Id(2)] long CapacityBytes, [property: Id(3)] double? Weight = null);

/// <summary>Failure domains of a drive, widest first.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveDomain")]
public sealed record DriveDomain([property: Id(0)] string Region, [property: Id(1)] string Zone, [property: Id(2)] string Rack, [property: Id(3)] string Host);

/// <summary>A pool's map as bytes, since these contracts know nothing of the data plane.</summary>
/// <param name="Epoch">Rises with every change; 0 where there is no map yet.</param>
/// <param name="Encoded">As docs/formats/cluster-map.md says; empty where there is no map yet. Not to be changed.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PlacementMap.2")]
public sealed record PlacementMap([property: Id(0)] long Epoch, [property: Id(1)] byte[] Encoded);

/// <summary>A node's announcement.</summary>
/// <param name="NodeId">The node's id.</param>
/// <param name="KnownMap">The newest map that the node knows, encoded; a pool that has lost its map, or has an older one, takes it. Null where it knows none.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.NodeRegistration.2")]
public sealed record NodeRegistration(
    [property: Id(0)] string Pool, [property: Id(1)] string NodeId, [property: Id(2)] ImmutableArray<PlacementDrive> Drives, [property: Id(3)] byte[]? KnownMap = null);

/// <summary>A sign of life.</summary>
/// <param name="KnownEpoch">Of the map that the node goes by.</param>
/// <param name="Drives">Every drive of the node, those that it set aside too. Of two that name one drive the one that has not failed counts.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.NodeHeartbeat")]
public sealed record NodeHeartbeat([property: Id(0)] long KnownEpoch, [property: Id(1)] ImmutableArray<DriveReport> Drives);

/// <summary>How a drive is, by its own node.</summary>
public enum DriveCondition
{
    /// <summary>It reads and writes.</summary>
    Working,

    /// <summary>It reads, and takes no writes for want of space.</summary>
    Full,

    /// <summary>It was set aside: it fails, hangs, or is not what it should be.</summary>
    Failed,
}

/// <summary>What one drive holds.</summary>
/// <param name="DriveId">Empty where it cannot be told.</param>
/// <param name="ErrorCount">Failed operations, poisoned volumes and corrupt fragments of the last minutes; of a drive in a process of its own its poisoned volumes. One that rises makes the drive suspect.</param>
/// <param name="Path">Its folder on the node.</param>
/// <param name="Reason">Why it was set aside.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveReport.2")]
public sealed record DriveReport(
    [property: Id(0)] string DriveId, [property: Id(1)] long CapacityBytes, [property: Id(2)] long FreeBytes, [property: Id(3)] long ErrorCount,
    [property: Id(4)] DriveCondition Condition = DriveCondition.Working, [property: Id(5)] string? Path = null, [property: Id(6)] string? Reason = null);

/// <summary>How a node or a drive stands.</summary>
public enum NodeState
{
    /// <summary>Never heard of, or not since the grain was activated.</summary>
    Unknown,

    /// <summary>Heard of in time.</summary>
    Up,

    /// <summary>A heartbeat is overdue, or errors rise.</summary>
    Suspect,

    /// <summary>Silent for longer than the grace, or failed.</summary>
    Down,

    /// <summary>Taken out of the map: its fragments are rebuilt elsewhere.</summary>
    Out,

    /// <summary>Works, and its fragments are being moved elsewhere.</summary>
    Draining,

    /// <summary>No part of the pool any more.</summary>
    Removed,
}

/// <summary>What is known of a node.</summary>
/// <param name="State">Of the node; Out, Draining and Removed where all of its drives are.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.NodeStatus.2")]
public sealed record NodeStatus([property: Id(0)] NodeState State, [property: Id(1)] long LastHeartbeatUnixMs, [property: Id(2)] ImmutableArray<DriveStatus> Drives);

/// <summary>What is known of a drive.</summary>
/// <param name="DownForMs">How long it has been down; 0 where it is not.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveStatus")]
public sealed record DriveStatus([property: Id(0)] DriveReport Report, [property: Id(1)] NodeState State, [property: Id(2)] long DownForMs);

/// <summary>What the pool thinks of a drive.</summary>
public enum PoolDriveState
{
    /// <summary>It has its share of slots.</summary>
    In,

    /// <summary>An operator empties it.</summary>
    Draining,

    /// <summary>It was down for too long. It is taken back when it is heard of again.</summary>
    Lost,

    /// <summary>An operator took it out.</summary>
    Out,

    /// <summary>An operator removed it. It is not in the map, and registering does not bring it back.</summary>
    Removed,
}

/// <summary>A drive of a pool.</summary>
/// <param name="Slots">Slots that name it as their drive.</param>
/// <param name="SourceOf">Incomplete slots whose bytes it has, or had: what a drain has yet to move.</param>
/// <param name="Weight">Its share, before the reduction.</param>
/// <param name="Reduction">Of its share, 0 to 0.9: what it does not get because it was full while others had room.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.PoolDrive")]
public sealed record PoolDrive(
    [property: Id(0)] string DriveId, [property: Id(1)] string NodeId, [property: Id(2)] PoolDriveState State, [property: Id(3)] DriveDomain Domain, [property: Id(4)] double Weight,
    [property: Id(5)] int Slots, [property: Id(6)] int SourceOf, [property: Id(7)] double Reduction = 0);

/// <summary>What a drive holds, by its node.</summary>
/// <param name="FreeBytes">Of the file system it is on.</param>
/// <param name="IsFull">Whether it takes no writes for want of space.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveSpace")]
public sealed record DriveSpace(
    [property: Id(0)] string DriveId, [property: Id(1)] string NodeId, [property: Id(2)] long CapacityBytes, [property: Id(3)] long FreeBytes, [property: Id(4)] bool IsFull);

/// <summary>Whether a drive is given up or taken back.</summary>
/// <param name="NodeId">The node that says so; nothing is done where another has registered the drive since.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveVerdict")]
public sealed record DriveVerdict([property: Id(0)] string DriveId, [property: Id(1)] string NodeId, [property: Id(2)] bool IsLost);

/// <summary>What an operator wants of a drive.</summary>
public enum DriveOrder
{
    /// <summary>Empty it: it gets nothing new, and what it has moves elsewhere.</summary>
    Drain,

    /// <summary>Take it into use, or back: ends a drain, an Out and a removal.</summary>
    Use,

    /// <summary>Give it up now: what it has is rebuilt elsewhere.</summary>
    TakeOut,

    /// <summary>Forget it. Refused while it has, or may have, what no other drive has yet.</summary>
    Remove,

    /// <summary>
    /// Forget it although it may have what no other drive has: it is gone for good. No slot names it any more, so that what cannot be made without it is lost, and no longer waited for.
    /// Refused unless the drive is lost or was taken out.
    /// </summary>
    GiveUp,
}

/// <summary>How a change of a drive ended.</summary>
public enum DriveChangeStatus
{
    /// <summary>Done, and durable.</summary>
    Changed,

    /// <summary>It was so already.</summary>
    Unchanged,

    /// <summary>The pool has no such drive, or another node has it.</summary>
    NoSuchDrive,

    /// <summary>The drive still has slots, or is a source of slots that are not filled; of one that is given up, that it is neither lost nor out.</summary>
    StillNeeded,

    /// <summary>Less than half of the pool's weight would be left. An operator may order it; of itself the pool does not, as it is rather the network that fails.</summary>
    TooMuchLost,

    /// <summary>No drive would be left that takes slots.</summary>
    LastDrive,

    /// <summary>The next map would break the rules of placement.</summary>
    RuleBroken,

    /// <summary>Fewer drives would be left that take slots than the widest groups have shards. An operator may force it.</summary>
    TooFewDrives,
}

/// <summary>How a change of a drive ended.</summary>
/// <param name="Epoch">Of the map as it is now.</param>
/// <param name="Reason">Of a refusal, for the operator.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveChange")]
public sealed record DriveChange([property: Id(0)] DriveChangeStatus Status, [property: Id(1)] long Epoch, [property: Id(2)] string? Reason = null);

/// <summary>A slot whose drive has everything.</summary>
/// <param name="Group">Width × 65,536 + index.</param>
/// <param name="DriveId">The drive that was filled.</param>
/// <param name="Epoch">Of the map that the filling went by from its beginning.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.FilledSlot")]
public sealed record FilledSlot([property: Id(0)] int Group, [property: Id(1)] int Slot, [property: Id(2)] string DriveId, [property: Id(3)] long Epoch);

/// <param name="Epoch">Of the map as it is now.</param>
/// <param name="Completed">Slots that this call made complete; the others were passed over.</param>
[GenerateSerializer, Immutable, Alias("ObjectStore.CompletedSlots")]
public sealed record CompletedSlots([property: Id(0)] long Epoch, [property: Id(1)] int Completed);
