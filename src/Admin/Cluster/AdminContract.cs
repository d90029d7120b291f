// The JSON of a node's admin interface, /admin/v1. docs/admin-api.md is its page; the two change together. This file stands by itself, so that the server can
// compile the same records.

using System.Text.Json.Serialization;

namespace ObjectStore.Admin.Cluster;

/// <summary>Paths, header and states of the admin interface.</summary>
internal static class AdminApi
{
    public const string TokenHeader = "x-objectstore-admin-token";

    /// <summary>The file in a node's data folder that holds the token; readable by its owner only.</summary>
    public const string TokenFileName = "admin.token";

    public const string Status = "/admin/v1/status";
    public const string Drives = "/admin/v1/drives";
    public const string Repair = "/admin/v1/repair";
    public const string Scrub = "/admin/v1/scrub";
    public const string Compaction = "/admin/v1/compaction";
    public const string Garbage = "/admin/v1/garbage";
    public const string Orphans = "/admin/v1/orphans";
    public const string Format = Drives + "/format";

    public static string StateOf(Guid driveId) => $"{Drives}/{driveId:D}/state";

    public const string Up = "up";
    public const string Draining = "draining";
    public const string Out = "out";
    public const string Removed = "removed";
}

/// <param name="Width">Shards of a placement group.</param>
/// <param name="ShardsPerHost">How many of them each host has, of the group with the most in one; descending.</param>
internal sealed record SpreadStatus(int Width, int[] ShardsPerHost);

/// <summary>GET /admin/v1/status: all there is to know, from one moment.</summary>
/// <param name="OlderWidths">Fragments of a block of older objects, where no class asks for or gets as many now; null from a node of an older version.</param>
/// <param name="Spreads">One for each width in use; null from a node of an older version.</param>
internal sealed record ClusterStatus(
    Guid ClusterId, string Version, long MapEpoch, DriveStatus[] Drives, ClassStatus[] Classes, RepairStatus Repair, ScrubStatus Scrub, CompactionStatus Compaction,
    OrphanStatus Orphans, GarbageStatus? Garbage = null, int[]? OlderWidths = null, SpreadStatus[]? Spreads = null);

/// <summary>GET /admin/v1/drives.</summary>
internal sealed record DriveList(DriveStatus[] Drives);

/// <param name="State">up, suspect, down, out, draining or removed.</param>
/// <param name="Reason">Why it is not up; null where it is.</param>
/// <param name="Slots">Shards of placement groups that the map gives it.</param>
/// <param name="IncompleteSlots">Those that are being filled.</param>
/// <param name="SourceOf">Slots of other drives that are still being filled and whose data this one has, or had: what is left to move. A drive that is drained can go when it is 0.</param>
/// <param name="CapacityBytes">Null where it is not known, as are the other sizes.</param>
/// <param name="UsedBytes">Live and garbage.</param>
/// <param name="Reduction">Of its share of the pool, 0 to 0.9: what it does not get because it was full while others had room.</param>
/// <param name="Errors">Of late, as its node counts them; null where it has said nothing of the drive.</param>
internal sealed record DriveStatus(
    Guid DriveId, string NodeId, string Path, string Domain, string State, string? Reason, long? CapacityBytes, long? FreeBytes, long? UsedBytes, long? GarbageBytes, long? LiveFragments, int Slots,
    int IncompleteSlots, int SourceOf, long? Errors, double Reduction = 0);

/// <param name="Small">The scheme asked for small parts, and <paramref name="SmallUsed"/> the one that new parts get.</param>
/// <param name="Narrowed">Whether either is narrower than asked for, since there are too few drives.</param>
internal sealed record ClassStatus(string StorageClass, long SmallBelowBytes, string Small, string SmallUsed, string Large, string LargeUsed, bool Narrowed);

/// <param name="State">idle, running, throttled or paused.</param>
/// <param name="QueuedExtents">Extents known to lack fragments.</param>
/// <param name="QueuedGroups">Placement groups to be gone through.</param>
/// <param name="FewestSpare">Fragments that the block in most danger could still lose, of those found in the last 10 to 20 s, before it was repaired; null where none was found.</param>
/// <param name="BytesPerSecond">Rebuilt bytes over the seconds that repair was at work, since the node started; null before it was.</param>
/// <param name="LostBlocks">Blocks found since the node started to have too few fragments left, without those that were made whole or deleted since.</param>
/// <param name="AwaitingBlocks">Blocks with too few fragments on the drives that are in, while drives that are out may have others of them.</param>
/// <param name="UnidentifiedBlocks">Blocks of which only fragments are left that are so damaged that they do not say whose they are: of no object, or lost.</param>
/// <param name="EstimatedSecondsLeft">Null where nothing is queued, or the rate is not known yet.</param>
internal sealed record RepairStatus(
    string State, long QueuedExtents, int QueuedGroups, int? FewestSpare, long RebuiltBytes, double? BytesPerSecond, double? EstimatedSecondsLeft, long LostBlocks, long AwaitingBlocks = 0,
    long UnidentifiedBlocks = 0);

/// <param name="State">idle, running, throttled or paused.</param>
/// <param name="Fraction">Of the pass under way, 0 to 1; null before the first has begun.</param>
/// <param name="LastCompleted">When the last whole pass ended.</param>
internal sealed record ScrubStatus(string State, double PeriodSeconds, double? Fraction, long VerifiedBytes, long CorruptFragments, DateTimeOffset? LastCompleted);

/// <param name="State">idle, running, throttled or paused.</param>
/// <param name="GarbageBytes">On the drives that answered.</param>
/// <param name="ReclaimedBytes">Given back to the file systems since that node started.</param>
internal sealed record CompactionStatus(string State, long GarbageBytes, long ReclaimedBytes);

/// <param name="Kept">Whether fragments that nothing names are kept, since there are more of them than crashes leave behind.</param>
internal sealed record OrphanStatus(bool Kept);

/// <param name="State">running or paused: whether the bytes of what was deleted or overwritten are deleted when their time comes.</param>
internal sealed record GarbageStatus(string State);

/// <summary>POST …/state.</summary>
/// <param name="Force">Do it although the map then has too few drives for the schemes in use; for removed, although the drive, which is out, may have what is nowhere else.</param>
internal sealed record DriveStateRequest(string State, bool Force);

/// <summary>POST /admin/v1/drives/format: an empty folder becomes a drive.</summary>
/// <param name="Path">One of the drive folders of the node that is asked.</param>
internal sealed record FormatRequest(string Path);

/// <summary>POST /admin/v1/repair, /scrub, /compaction and /garbage: pause, resume; scrub: start as well. /orphans: release.</summary>
internal sealed record ActionRequest(string Action);

/// <summary>The body of every answer that is not 2xx. One line each.</summary>
internal sealed record AdminError(string Error, string? Remedy);

[JsonSerializable(typeof(ClusterStatus))]
[JsonSerializable(typeof(DriveList))]
[JsonSerializable(typeof(DriveStateRequest))]
[JsonSerializable(typeof(FormatRequest))]
[JsonSerializable(typeof(ActionRequest))]
[JsonSerializable(typeof(AdminError))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, RespectNullableAnnotations = true)]
internal sealed partial class AdminApiJson : JsonSerializerContext;
