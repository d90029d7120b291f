using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Silo.Configuration;
using ObjectStore.Silo.Hosting;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using Contract = ObjectStore.Admin.Cluster;

namespace ObjectStore.Silo.Observability;

/// <summary>
/// /admin/v1, as docs/admin-api.md has it. A bucket may be called "admin": a request without the token header is S3's.
/// </summary>
internal sealed class AdminEndpoints(
    Guid clusterId, AdminToken token, DataPlane plane, PoolClient pool, RepairService repair, ScrubService scrub, CompactionService compaction, LoadGovernor governor, TimeSpan scrubPeriod,
    PauseKeeper pauses, GarbageReclaimer garbage, MetadataExtentLiveness liveness, Redundancy redundancy, StorageNodeRegistration registration, ILogger<AdminEndpoints> logger)
{
    private const string Root = "/admin/v1";
    private const int MaxBodyBytes = 4096;
    private static readonly Contract.AdminApiJson Json = Contract.AdminApiJson.Default;

    public static bool Handles(HttpContext http)
        => http.Request.Path.StartsWithSegments(Root, StringComparison.Ordinal) && http.Request.Headers.ContainsKey(Contract.AdminApi.TokenHeader);

    public async Task HandleAsync(HttpContext http)
    {
        if (http.Request.Headers[Contract.AdminApi.TokenHeader] is not [{ } given] || !token.Matches(given))
        {
            await RefuseAsync(http, 401, "the token is not this node's", "it is in admin.token in the node's data folder");
            return;
        }

        try
        {
            await DispatchAsync(http);
        }
        catch (Exception e) when (e is TimeoutException or Orleans.Runtime.OrleansException or PlacementUnavailableException)
        {
            logger.LogWarning(e, "An admin request failed");
            await RefuseAsync(http, 503, "this node does not reach the placement grain", "try again");
        }
        catch (Exception e) when (e is JsonException or BadHttpRequestException)
        {
            await RefuseAsync(http, 400, "the body is not such a request", "see docs/admin-api.md");
        }
        catch (Exception e) when (!http.RequestAborted.IsCancellationRequested && !http.Response.HasStarted)
        {
            // What was asked for may have been done, and durably.
            logger.LogError(e, "An admin request failed");
            await RefuseAsync(http, 500, $"an operation of this node failed: {e.Message.ReplaceLineEndings(" ")}", "see its log, and the status for what was done");
        }
    }

    private async Task DispatchAsync(HttpContext http)
    {
        string path = http.Request.Path.Value![Root.Length..].TrimStart('/');
        bool get = HttpMethods.IsGet(http.Request.Method), post = HttpMethods.IsPost(http.Request.Method);
        switch (path.Split('/'))
        {
            case ["status"] when get:
                await SendAsync(http, await StatusAsync(), Json.ClusterStatus);
                break;
            case ["drives"] when get:
                await SendAsync(http, new Contract.DriveList(await DrivesAsync(await StatisticsAsync())), Json.DriveList);
                break;
            case ["drives", "format"] when post:
                await FormatAsync(http, await ReadAsync(http, Json.FormatRequest));
                break;
            case ["drives", string id, "state"] when post:
                await SetDriveAsync(http, id, await ReadAsync(http, Json.DriveStateRequest));
                break;
            case ["repair"] when post:
                await ActAsync(http, PauseOf(PausableWork.Repair));
                break;
            case ["scrub"] when post:
                await ActAsync(http, [.. PauseOf(PausableWork.Scrub), ("start", () => Now(scrub.StartPass))]);
                break;
            case ["compaction"] when post:
                await ActAsync(http, PauseOf(PausableWork.Compaction));
                break;
            case ["garbage"] when post:
                await ActAsync(http, PauseOf(PausableWork.Garbage));
                break;
            case ["orphans"] when post:
                await ActAsync(http, ("release", () => Now(liveness.ReleaseBrake)));
                break;
            default:
                await RefuseAsync(http, 404, "there is no such request", "see docs/admin-api.md");
                break;
        }
    }

    // In effect also where the client has gone meanwhile: half of it would be paused until the next start, or from there on.
    private (string Name, Func<Task> Run)[] PauseOf(PausableWork work)
        => [("pause", () => pauses.SetAsync(work, paused: true, CancellationToken.None)), ("resume", () => pauses.SetAsync(work, paused: false, CancellationToken.None))];

    private async Task ActAsync(HttpContext http, params (string Name, Func<Task> Run)[] actions)
    {
        Contract.ActionRequest request = await ReadAsync(http, Json.ActionRequest);
        if (actions.FirstOrDefault(action => action.Name == request.Action).Run is not { } run)
        {
            await RefuseAsync(http, 400, "the action is unknown here", $"use {string.Join(" or ", actions.Select(action => action.Name))}");
            return;
        }

        await run();
        await SendAsync(http, await StatusAsync(), Json.ClusterStatus);
    }

    private static Task Now(Action action)
    {
        action();
        return Task.CompletedTask;
    }

    private async Task FormatAsync(HttpContext http, Contract.FormatRequest request)
    {
        try
        {
            await plane.FormatAsync(request.Path, http.RequestAborted);
        }
        catch (ArgumentException e)
        {
            await RefuseAsync(http, 400, e.Message.Split(" (Parameter", 2)[0], "use one of the folders that the node's --drives names");
            return;
        }
        catch (StorageException e)
        {
            await RefuseAsync(http, 409, e.Message.ReplaceLineEndings(" "), null);
            return;
        }
        catch (TimeoutException)
        {
            await RefuseAsync(http, 503, "the drive does not answer", "look at it, and at 's3-admin drives' for whether it was formatted after all");
            return;
        }

        await registration.RegisterAsync(http.RequestAborted);
        repair.Wake();
        await SendAsync(http, new Contract.DriveList(await DrivesAsync(await StatisticsAsync())), Json.DriveList);
    }

    private async Task SetDriveAsync(HttpContext http, string id, Contract.DriveStateRequest request)
    {
        DriveOrder? order = request.State switch
        {
            Contract.AdminApi.Up => DriveOrder.Use,
            Contract.AdminApi.Draining => DriveOrder.Drain,
            Contract.AdminApi.Out => DriveOrder.TakeOut,
            Contract.AdminApi.Removed => request.Force ? DriveOrder.GiveUp : DriveOrder.Remove,
            _ => null,
        };
        if (order is not { } wanted || !Guid.TryParse(id, out Guid drive))
        {
            await RefuseAsync(http, 400, $"the state '{request.State}' or the drive '{id}' cannot be", "use up, draining, out or removed, and a drive's id");
            return;
        }

        PoolDrive? before = (await pool.GetDrivesAsync()).FirstOrDefault(each => Guid.Parse(each.DriveId) == drive);
        DriveChange change = await pool.SetDriveAsync(drive, wanted, request.Force, http.RequestAborted);
        Maintenance.Repair.RepairStatus repairs = repair.Status;
        if (wanted == DriveOrder.GiveUp && change.Status == DriveChangeStatus.Changed)
        {
            logger.LogWarning(
                "An operator has given up drive {Drive} for good: {Slots} slots no longer wait for it. Before, {Awaiting} blocks were known that need drives which are out, and {Lost} that are lost",
                drive, before?.SourceOf, repairs.BlocksAwaiting, repairs.BlocksLost);
        }

        switch (change.Status)
        {
            case DriveChangeStatus.StillNeeded when before?.State is PoolDriveState.Lost or PoolDriveState.Out:
                await RefuseAsync(
                    http, 409,
                    $"{before.SourceOf} slots wait for the drive, which may have what is nowhere else; {repairs.BlocksAwaiting} blocks are known that cannot be made without drives which are out, and {repairs.BlocksLost} that are lost",
                    "wait for repair, or bring the drive back; force gives it up for good: nothing waits for it any more, and what cannot be made without it is lost");
                break;
            case DriveChangeStatus.Changed or DriveChangeStatus.Unchanged:
                repair.Wake();
                await SendAsync(http, new Contract.DriveList(await DrivesAsync(await StatisticsAsync())), Json.DriveList);
                break;
            case DriveChangeStatus.TooFewDrives:
                await RefuseAsync(http, 409, change.Reason!, "add a drive first, or force it");
                break;
            case DriveChangeStatus.NoSuchDrive:
                await RefuseAsync(http, 404, "the pool has no such drive", null);
                break;
            default:
                await RefuseAsync(http, 409, change.Reason ?? change.Status.ToString(), null);
                break;
        }
    }

    private async Task<Contract.ClusterStatus> StatusAsync()
    {
        IClusterMap map = plane.Extents.ClusterMap;
        Maintenance.Repair.RepairStatus repairs = repair.Status;
        Dictionary<Guid, DriveStatistics> statistics = await StatisticsAsync();
        return new Contract.ClusterStatus(
            clusterId, typeof(AdminEndpoints).Assembly.GetName().Version!.ToString(3), map.Epoch, await DrivesAsync(statistics), [.. plane.Schemes.Classes.Select(each => Describe(each.Key, each.Value, map.WritableDrives))],
            new Contract.RepairStatus(
                StateOf(repairs.Paused, repairs.Queued > 0 || repairs.Pass is not null), repairs.Queued, repairs.GroupsLeft, repairs.FewestSpare, repairs.BytesRebuilt,
                repairs.Active > TimeSpan.Zero ? repairs.BytesRebuilt / repairs.Active.TotalSeconds : null,
                repairs.Pass?.EstimatedEnd is { } end ? Math.Max(0, (end - DateTimeOffset.UtcNow).TotalSeconds) : null, repairs.BlocksLost, repairs.BlocksAwaiting, repairs.BlocksUnidentified),
            DescribeScrub(),
            new Contract.CompactionStatus(StateOf(compaction.IsPaused, compaction.IsRunning), statistics.Values.Sum(drive => drive.GarbageBytes), compaction.FreedBytes),
            new Contract.OrphanStatus(liveness.IsBraked), new Contract.GarbageStatus(garbage.IsPaused ? "paused" : "running"), redundancy.OlderWidths,
            [.. redundancy.FindSpreads().Select(each => new Contract.SpreadStatus(each.Width, each.ShardsPerHost))]);
    }

    private Contract.ScrubStatus DescribeScrub()
    {
        IReadOnlyList<Maintenance.Scrubbing.ScrubStatus> drives = scrub.Status;
        long expected = drives.Sum(drive => drive.ExpectedBytes ?? 0), verified = drives.Sum(drive => drive.Bytes);
        double? fraction = drives.Count == 0 || drives.Any(drive => drive.ExpectedBytes is null) ? null : expected == 0 ? 1 : Math.Min(1, verified / (double)expected);
        bool whole = drives.Count > 0 && drives.All(drive => drive.LastPassFinished is not null);
        return new Contract.ScrubStatus(
            StateOf(scrub.IsPaused, drives.Any(drive => drive.IsRunning)), scrubPeriod.TotalSeconds, fraction, verified,
            drives.Sum(drive => drive.Findings), whole ? drives.Min(drive => drive.LastPassFinished) : null);
    }

    private string StateOf(bool paused, bool runs) => paused ? "paused" : !runs ? "idle" : governor.IsHeldBack ? "throttled" : "running";

    private static Contract.ClassStatus Describe(string storageClass, ClassSchemes schemes, int drives)
    {
        Scheme small = schemes.Small.Narrow(Math.Max(1, drives)), large = schemes.Large.Narrow(Math.Max(1, drives));
        return new Contract.ClassStatus(
            storageClass, schemes.SmallBelowBytes, schemes.Small.ToString(), small.ToString(), schemes.Large.ToString(), large.ToString(), small != schemes.Small || large != schemes.Large);
    }

    /// <summary>Of the drives that answer at once.</summary>
    private async Task<Dictionary<Guid, DriveStatistics>> StatisticsAsync()
    {
        Dictionary<Guid, DriveStatistics> statistics = [];
        foreach (DriveStatistics drive in await plane.GetPoolStatisticsAsync(CancellationToken.None)) statistics[drive.DriveId] = drive;
        return statistics;
    }

    private async Task<Contract.DriveStatus[]> DrivesAsync(Dictionary<Guid, DriveStatistics> statistics)
    {
        ImmutableArray<PoolDrive> drives = await pool.GetDrivesAsync();
        Dictionary<Guid, string> nodeOf = drives.ToDictionary(drive => Guid.Parse(drive.DriveId), drive => drive.NodeId);
        Dictionary<Guid, Grains.DriveStatus> known = [];
        foreach (string node in drives.Select(drive => drive.NodeId).Distinct())
        {
            foreach (Grains.DriveStatus drive in (await pool.GetNodeAsync(node)).Drives)
            {
                // A node that had a drive before knows of it that it is gone.
                if (Guid.TryParse(drive.Report.DriveId, out Guid id) && nodeOf.GetValueOrDefault(id) == node) known[id] = drive;
            }
        }

        IClusterMap map = plane.Extents.ClusterMap;
        Dictionary<Guid, int> incomplete = map.Groups.SelectMany(map.SlotsOf).Where(slot => slot is { Drive: not null, IsComplete: false }).GroupBy(slot => slot.Drive!.Value).ToDictionary(group => group.Key, group => group.Count());
        return
        [
            .. drives.Select(drive =>
            {
                Guid id = Guid.Parse(drive.DriveId);
                Grains.DriveStatus? status = known.GetValueOrDefault(id);
                DriveStatistics? numbers = statistics.GetValueOrDefault(id) is { State: not DriveState.Unavailable } probed ? probed : null;
                NodeState state = drive.State == PoolDriveState.Removed ? NodeState.Removed : status?.State ?? NodeState.Unknown;
                return new Contract.DriveStatus(
                    id, drive.NodeId, numbers?.Path ?? status?.Report.Path ?? "", $"{drive.Domain.Region}/{drive.Domain.Zone}/{drive.Domain.Rack}/{drive.Domain.Host}",
                    state switch { NodeState.Unknown => "suspect", NodeState.Removed => "removed", _ => state.ToString().ToLowerInvariant() },
                    status?.Report.Reason ?? (state == NodeState.Draining ? "asked for" : null),
                    status?.Report.CapacityBytes is > 0 and var capacity ? capacity : null, status?.Report is { CapacityBytes: > 0, FreeBytes: var free } ? free : null,
                    numbers?.LiveBytes + numbers?.GarbageBytes, numbers?.GarbageBytes, numbers?.LiveFragments, drive.Slots, incomplete.GetValueOrDefault(id), drive.SourceOf, status?.Report.ErrorCount, drive.Reduction);
            }),
        ];
    }

    private static async Task<T> ReadAsync<T>(HttpContext http, JsonTypeInfo<T> type)
    {
        if (http.Request.ContentLength is not <= MaxBodyBytes) throw new JsonException("The body has no length, or too much of it.");
        return await JsonSerializer.DeserializeAsync(http.Request.Body, type, http.RequestAborted) ?? throw new JsonException("The body is null.");
    }

    private static Task RefuseAsync(HttpContext http, int status, string error, string? remedy)
    {
        http.Response.StatusCode = status;
        return SendAsync(http, new Contract.AdminError(error, remedy), Json.AdminError);
    }

    private static Task SendAsync<T>(HttpContext http, T answer, JsonTypeInfo<T> type)
    {
        http.Response.ContentType = "application/json";
        http.Response.Headers.CacheControl = "no-store";
        byte[] body = JsonSerializer.SerializeToUtf8Bytes(answer, type);
        http.Response.ContentLength = body.Length;
        return http.Response.Body.WriteAsync(body, 0, body.Length, http.RequestAborted);
    }
}
