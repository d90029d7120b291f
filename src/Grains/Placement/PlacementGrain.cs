using System.Collections.Immutable;
using System.Globalization;
using Microsoft.Extensions.Logging;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Placement;
using Orleans;
using Orleans.Runtime;

namespace ObjectStore.Grains;

/// <summary>
/// Owns the cluster map of a pool. What <see cref="MapPlanner"/> plans is checked against <see cref="MapRules"/>, written, and only then seen by readers. The write is a compare-and-swap: of
/// two activations one loses, and goes.
/// </summary>
[GrainType("placement")]
public sealed partial class PlacementGrain(
    [PersistentState("cluster-map", GrainStorageNames.Metadata)] IPersistentState<PlacementState> state,
    GrainOptions options,
    TimeProvider time,
    ILogger<PlacementGrain> logger) : Grain, IPlacementGrain
{
    private const double CapacityTolerance = 0.05;

    private static readonly PlacementMap NoMap = new(0, []);

    private readonly DriveShares _shares = new(time, options);
    private ClusterMap? _map;
    private PlacementMap _encoded = NoMap;
    private ImmutableSortedDictionary<string, DriveRecord> _drives = ImmutableSortedDictionary.Create<string, DriveRecord>(StringComparer.Ordinal);

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        if (state.State.Map.Length > 0)
        {
            _map = ClusterMapFormat.Decode(state.State.Map);
            _encoded = new PlacementMap(_map.Epoch, state.State.Map);
        }

        _drives = _drives.AddRange(state.State.Drives.Select(drive => KeyValuePair.Create(drive.DriveId, drive)));
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<PlacementMap?> GetMapAsync(long knownEpoch) => Task.FromResult(_encoded.Epoch == knownEpoch ? null : _encoded);

    /// <inheritdoc/>
    public Task<ImmutableArray<PoolDrive>> GetDrivesAsync()
    {
        Dictionary<Guid, (int Slots, int SourceOf)> uses = _map is { } map ? Uses(map) : [];
        return Task.FromResult<ImmutableArray<PoolDrive>>([.. _drives.Values.Select(drive =>
        {
            (int slots, int sourceOf) = uses.GetValueOrDefault(Guid.Parse(drive.DriveId));
            return new PoolDrive(drive.DriveId, drive.NodeId, drive.State, drive.Domain, drive.Weight, slots, sourceOf, drive.Reduction);
        })]);
    }

    /// <inheritdoc/>
    public async Task<PlacementMap> RegisterDrivesAsync(NodeRegistration registration)
    {
        (ClusterMap? map, ImmutableSortedDictionary<string, DriveRecord> drives) = Adopt(registration.KnownMap);
        foreach (PlacementDrive drive in registration.Drives)
        {
            string id = Normal(drive.DriveId);
            DriveRecord record = drives.GetValueOrDefault(id) ?? new DriveRecord { DriveId = id };
            drives = drives.SetItem(id, record with
            {
                NodeId = registration.NodeId,
                Domain = drive.Domain,
                Weight = WeightOf(drive, record.Weight),
                IsLost = false,
            });
        }

        ClusterMap? next = Plan(map, drives);
        if (next is not null && MapRules.Check(next, 1) is [{ } violation])
            throw new InvalidOperationException($"The map for the drives of node {registration.NodeId} would break a rule: {violation}");
        await WriteAsync(next, drives);
        return _encoded;
    }

    /// <inheritdoc/>
    public async Task<ImmutableArray<DriveChange>> ReportDrivesAsync(ImmutableArray<DriveVerdict> verdicts)
    {
        // All at once, where that may be: a host that comes back with its drives would otherwise have the slots of one of them given to another that is not back yet, or is about to be lost.
        Dictionary<string, DriveRecord> changed = new(StringComparer.Ordinal);
        foreach (DriveVerdict verdict in verdicts)
        {
            if (OfTheirs(verdict) is { } record && record.IsLost != verdict.IsLost)
                changed[record.DriveId] = record with { IsLost = verdict.IsLost };
        }

        bool allAtOnce = changed.Count > 1 && (await ChangeAsync(changed.Values, mayTakeMost: false)).Status == DriveChangeStatus.Changed;
        var changes = ImmutableArray.CreateBuilder<DriveChange>(verdicts.Length);
        foreach (DriveVerdict verdict in verdicts)
        {
            changes.Add(
                OfTheirs(verdict) is not { } record ? new DriveChange(DriveChangeStatus.NoSuchDrive, _encoded.Epoch)
                : allAtOnce && changed.ContainsKey(record.DriveId) ? new DriveChange(DriveChangeStatus.Changed, _encoded.Epoch)
                : await ChangeAsync(verdict.DriveId, drive => drive with { IsLost = verdict.IsLost }, mayTakeMost: false));
        }

        return changes.MoveToImmutable();

        DriveRecord? OfTheirs(DriveVerdict verdict)
            => _drives.TryGetValue(Normal(verdict.DriveId), out DriveRecord? record) && record.NodeId == verdict.NodeId && record.Ordered != PoolDriveState.Removed ? record : null;
    }

    /// <inheritdoc/>
    public async Task ReportSpaceAsync(ImmutableArray<DriveSpace> drives)
    {
        foreach (DriveSpace space in drives)
        {
            string id = Normal(space.DriveId);
            if (_drives.TryGetValue(id, out DriveRecord? record) && record.NodeId == space.NodeId && record.State == PoolDriveState.In)
                _shares.Hear(id, space);
        }

        if (_map is not { } map)
            return;
        (HashSet<Guid> From, HashSet<Guid> To)? moving = null;
        (IReadOnlyList<DriveRecord> due, bool less) = _shares.FindDue([.. _drives.Values.Where(static drive => drive.State == PoolDriveState.In)], IsMoving);
        foreach (DriveRecord drive in due)
            _shares.Restart(drive.DriveId);
        if (due.Count == 0 || (less ? Reduce(map, due, id => (moving ??= Moving(map)).To.Contains(id)) : Raise(map, due[0])) is not { } change)
            return;
        await WriteAsync(change.Map, change.Drives);
        foreach (string id in due.Select(drive => drive.DriveId))
        {
            if (less)
                LogReduced(id, _drives[id].Reduction);
            else
                LogRaised(id, _drives[id].Reduction);
        }

        (bool From, bool To) IsMoving(string driveId)
        {
            (HashSet<Guid> from, HashSet<Guid> to) = moving ??= Moving(map);
            Guid id = Guid.Parse(driveId);
            return (from.Contains(id), to.Contains(id));
        }
    }

    /// <summary>
    /// By the least step that moves anything: where the drive is the largest, or has few slots, the first does not. Null where none does, the rules leave no other place, or more than a fifth of the
    /// slots would come to drives without room, or with something on its way to them that may take it.
    /// </summary>
    private (ClusterMap Map, ImmutableSortedDictionary<string, DriveRecord> Drives)? Reduce(ClusterMap map, IReadOnlyList<DriveRecord> full, Func<Guid, bool> isToGet)
    {
        Dictionary<Guid, (int Slots, int SourceOf)> before = Uses(map);
        Guid[] ids = [.. full.Select(drive => Guid.Parse(drive.DriveId))];
        for (int steps = 1; full.Min(drive => drive.Reduction) + ((steps - 1) * DriveShares.Step) < DriveShares.MostReduced - (DriveShares.Step / 2); steps++)
        {
            ImmutableSortedDictionary<string, DriveRecord> drives = _drives.SetItems(full.Select(drive => KeyValuePair.Create(
                drive.DriveId, drive with { Reduction = Math.Min(DriveShares.MostReduced, Math.Round(drive.Reduction + (steps * DriveShares.Step), 3)) })));
            if (Plan(map, drives) is not { } next || MapRules.Check(next, 1) is [_])
                return null;
            Dictionary<Guid, (int Slots, int SourceOf)> after = Uses(next);
            if (!Array.Exists(ids, id => after.GetValueOrDefault(id).Slots < before.GetValueOrDefault(id).Slots))
                continue;
            int gained = 0, withoutRoom = 0;
            foreach ((Guid other, (int slots, _)) in after)
            {
                int more = Math.Max(0, slots - before.GetValueOrDefault(other).Slots);
                gained += more;
                withoutRoom += isToGet(other) || !_shares.HasRoom(other.ToString("N")) ? more : 0;
            }

            return withoutRoom * 5 <= gained ? (next, drives) : null;
        }

        return null;
    }

    private (ClusterMap Map, ImmutableSortedDictionary<string, DriveRecord> Drives)? Raise(ClusterMap map, DriveRecord drive)
    {
        ImmutableSortedDictionary<string, DriveRecord> drives = _drives.SetItem(
            drive.DriveId, drive with { Reduction = Math.Max(0, Math.Round(drive.Reduction - DriveShares.Step, 3)) });
        return Plan(map, drives) is { } next && MapRules.Check(next, 1) is not [_] ? (next, drives) : null;
    }

    /// <inheritdoc/>
    public Task<DriveChange> SetDriveAsync(string driveId, DriveOrder order, bool force)
    {
        if (!force && order is (DriveOrder.Drain or DriveOrder.TakeOut) && TooFewWithout(driveId) is { } tooFew)
            return Task.FromResult(tooFew);
        if (order == DriveOrder.GiveUp && _drives.TryGetValue(Normal(driveId), out DriveRecord? given) && given.State is PoolDriveState.In or PoolDriveState.Draining)
            return Task.FromResult(new DriveChange(DriveChangeStatus.StillNeeded, _encoded.Epoch, "the drive is in use; take it out before it is given up for good"));
        if (order == DriveOrder.Remove && _map is { } map && Uses(map).TryGetValue(Guid.Parse(Normal(driveId)), out (int Slots, int SourceOf) uses) && (uses.Slots > 0 || uses.SourceOf > 0))
        {
            return Task.FromResult(new DriveChange(DriveChangeStatus.StillNeeded, map.Epoch, string.Create(
                CultureInfo.InvariantCulture, $"{uses.Slots} slots are on the drive and {uses.SourceOf} are being filled from it; drain it, or take it out, and wait for repair")));
        }

        return ChangeAsync(driveId, drive => order switch
        {
            DriveOrder.Drain => drive with { Ordered = PoolDriveState.Draining },
            DriveOrder.TakeOut => drive with { Ordered = PoolDriveState.Out },
            DriveOrder.Remove or DriveOrder.GiveUp => drive with { Ordered = PoolDriveState.Removed },
            DriveOrder.Use => drive with { Ordered = PoolDriveState.In, Reduction = 0 },
            _ => throw new ArgumentOutOfRangeException(nameof(order), order, null),
        }, mayTakeMost: true);
    }

    /// <inheritdoc/>
    public async Task<PlacementMap> RequireGroupsAsync(int scheme)
    {
        if (!Scheme.TryFromId(scheme, out Scheme asked))
            throw new ArgumentException($"{scheme} is not the id of a scheme.", nameof(scheme));
        if (_map is not { WritableDrives: > 0 } map || map.Widths.Contains(asked.Narrow(map.WritableDrives).Width))
            return _encoded;
        ClusterMap? next = Plan(map, _drives, asked);
        if (next is not null && MapRules.Check(next, 1) is [{ } violation])
            throw new InvalidOperationException($"The map with groups for {asked} would break a rule: {violation}");
        await WriteAsync(next, _drives);
        return _encoded;
    }

    /// <inheritdoc/>
    public async Task<CompletedSlots> CompleteSlotsAsync(ImmutableArray<FilledSlot> slots)
    {
        if (_map is null)
            return new CompletedSlots(0, 0);
        int incomplete = Incomplete(_map);
        ClusterMap next = MapPlanner.Complete(_map, slots.Select(slot => new SlotCompletion(new PlacementGroupId(slot.Group), slot.Slot, Guid.Parse(slot.DriveId), slot.Epoch)));
        int completed = incomplete - Incomplete(next);

        // Not checked by the rules: no drive of any slot changes, and what a map of an older build may break of them must not keep its slots incomplete.
        await WriteAsync(next, _drives);
        return new CompletedSlots(_encoded.Epoch, completed);
    }

    private static int Incomplete(ClusterMap map) => map.Groups.Sum(group => map.SlotsOf(group).Count(static slot => !slot.IsComplete));

    private static string Normal(string driveId)
        => Guid.TryParse(driveId, out Guid id) ? id.ToString("N") : throw new ArgumentException($"'{driveId}' is not the id of a drive.", nameof(driveId));

    /// <summary>In GiB, unless the topology says otherwise. A capacity that is hardly another, or not known, leaves the weight as it was.</summary>
    private static double WeightOf(PlacementDrive drive, double weight)
    {
        double asked = drive.Weight ?? (drive.CapacityBytes > 0 ? Math.Max(1, drive.CapacityBytes >> 30) : weight > 0 ? weight : 1);
        return drive.Weight is null && Math.Abs(asked - weight) < CapacityTolerance * weight ? weight : asked;
    }

    /// <summary>Drives that something is on its way from, and to.</summary>
    private static (HashSet<Guid> From, HashSet<Guid> To) Moving(ClusterMap map)
    {
        HashSet<Guid> from = [], to = [];
        foreach (GroupSlot slot in map.Groups.SelectMany(map.SlotsOf).Where(static slot => !slot.IsComplete))
        {
            if (slot.Drive is { } drive)
                to.Add(drive);
            from.UnionWith(slot.Sources);
        }

        return (from, to);
    }

    private static Dictionary<Guid, (int Slots, int SourceOf)> Uses(ClusterMap map)
    {
        Dictionary<Guid, (int Slots, int SourceOf)> uses = [];
        foreach (GroupSlot slot in map.Groups.SelectMany(map.SlotsOf))
        {
            if (slot.Drive is { } drive)
                uses[drive] = uses.GetValueOrDefault(drive) is var of ? (of.Slots + 1, of.SourceOf) : default;
            foreach (Guid source in slot.Sources.Concat(slot.Absent))
                uses[source] = uses.GetValueOrDefault(source) is var of ? (of.Slots, of.SourceOf + 1) : default;
        }

        return uses;
    }

    /// <summary>
    /// Whether with one drive less there would not be one for each shard of what is stored. Looked at in the turn that makes the change: of two orders at a time the second finds what the first has
    /// left. Later writes get narrower schemes, which they say.
    /// </summary>
    private DriveChange? TooFewWithout(string driveId)
    {
        if (_map is not { } map || !_drives.TryGetValue(Normal(driveId), out DriveRecord? record) || record.State != PoolDriveState.In)
            return null;
        int left = _drives.Values.Count(static drive => drive.State == PoolDriveState.In) - 1, widest = map.Widths.LastOrDefault();
        return widest <= left
            ? null
            : new DriveChange(DriveChangeStatus.TooFewDrives, map.Epoch, string.Create(
                CultureInfo.InvariantCulture, $"{left} drives would be left, too few for schemes of {widest} shards that something has been stored in"));
    }

    private async Task<DriveChange> ChangeAsync(string driveId, Func<DriveRecord, DriveRecord> change, bool mayTakeMost)
    {
        long epoch = _encoded.Epoch;
        if (!_drives.TryGetValue(Normal(driveId), out DriveRecord? record))
            return new DriveChange(DriveChangeStatus.NoSuchDrive, epoch);
        DriveRecord changed = change(record);
        return changed == record ? new DriveChange(DriveChangeStatus.Unchanged, epoch) : await ChangeAsync([changed], mayTakeMost);
    }

    /// <summary>All of them or none.</summary>
    private async Task<DriveChange> ChangeAsync(IReadOnlyCollection<DriveRecord> changed, bool mayTakeMost)
    {
        long epoch = _encoded.Epoch;
        ImmutableSortedDictionary<string, DriveRecord> before = _drives, drives = before.SetItems(changed.Select(drive => KeyValuePair.Create(drive.DriveId, drive)));
        HashSet<string> lost = [.. changed.Where(drive => drive.IsLost && !before[drive.DriveId].IsLost).Select(drive => drive.DriveId)];
        if (lost.Count > 0 && !mayTakeMost)
        {
            // A drive that was lost before and whose fragments have all been made elsewhere is missed by nobody.
            Dictionary<Guid, (int Slots, int SourceOf)> uses = _map is { } map ? Uses(map) : [];
            double all = drives.Values.Where(drive => drive.Ordered is not (PoolDriveState.Out or PoolDriveState.Removed)
                && (!drive.IsLost || lost.Contains(drive.DriveId) || uses.ContainsKey(Guid.Parse(drive.DriveId)))).Sum(drive => drive.Weight);
            double left = drives.Values.Where(drive => drive.State is PoolDriveState.In or PoolDriveState.Draining).Sum(drive => drive.Weight);
            if (left < all / 2)
                return new DriveChange(DriveChangeStatus.TooMuchLost, epoch, "less than half of the pool's weight would be left; an operator may take the drive out");
        }

        if (_map is not null && changed.Any(drive => before[drive.DriveId].State == PoolDriveState.In) && !drives.Values.Any(drive => drive.State == PoolDriveState.In))
            return new DriveChange(DriveChangeStatus.LastDrive, epoch, "no drive would be left that takes writes; add another first");
        ClusterMap? next = Plan(_map, drives);
        if (next is not null && MapRules.Check(next, 1) is [{ } violation])
            return new DriveChange(DriveChangeStatus.RuleBroken, epoch, violation.ToString());
        await WriteAsync(next, drives);
        return new DriveChange(DriveChangeStatus.Changed, _encoded.Epoch);
    }

    /// <summary>The next map; null while there is neither one nor a drive to begin one with.</summary>
    /// <param name="schemes">What is to have groups, beside what has them.</param>
    private ClusterMap? Plan(ClusterMap? map, ImmutableSortedDictionary<string, DriveRecord> drives, params IEnumerable<Scheme> schemes)
    {
        if (map is null && !drives.Values.Any(static drive => drive.State == PoolDriveState.In))
            return null;
        return MapPlanner.Plan(
            map,
            [.. drives.Values.Where(drive => drive.State != PoolDriveState.Removed).Select(static drive => new MappedDrive(
                Guid.Parse(drive.DriveId),
                drive.State == PoolDriveState.In ? drive.Weight * (1 - drive.Reduction) : 0,
                new FailureDomain(drive.Domain.Region, drive.Domain.Zone, drive.Domain.Rack, drive.Domain.Host),
                IsReadable: drive.State is PoolDriveState.In or PoolDriveState.Draining))],
            options.PlacementGroups,
            schemes);
    }

    /// <summary>
    /// What to go on from: this grain's own map, or the one that a node knows where this one is lost or older; with the groups of either, as there may be extents in them. What moved between
    /// that map and the last there was is not known then; repair finds it as missing fragments.
    /// </summary>
    private (ClusterMap? Map, ImmutableSortedDictionary<string, DriveRecord> Drives) Adopt(byte[]? known)
    {
        if (known is null)
            return (_map, _drives);
        ClusterMap map;
        try
        {
            map = ClusterMapFormat.Decode(known);
        }
        catch (ClusterMapFormatException e)
        {
            throw new ArgumentException($"The map that the node knows cannot be used. {e.Message}", nameof(known), e);
        }

        if (map.Epoch <= _encoded.Epoch)
            return (_map is { } own ? MapPlanner.WithGroupsOf(own, map) : null, _drives);
        if (_map is { } older)
            map = MapPlanner.WithGroupsOf(map, older);
        ImmutableSortedDictionary<string, DriveRecord> drives = _drives;
        foreach (MappedDrive drive in map.Drives)
        {
            string id = drive.Id.ToString("N");
            DriveRecord record = drives.GetValueOrDefault(id) ?? new DriveRecord { DriveId = id, Weight = 1 };
            drives = drives.SetItem(id, record with
            {
                Domain = new DriveDomain(drive.Domain.Region, drive.Domain.Zone, drive.Domain.Rack, drive.Domain.Host),
                Weight = drive.Weight > 0 ? drive.Weight : record.Weight,
                Reduction = 0, // it is in the weight that the map names

                // Where the drive is not readable the map does not say why; what an operator ordered stands, or the drive's next registration would put it in again.
                Ordered = !drive.IsReadable ? record.Ordered : drive.Weight == 0 ? PoolDriveState.Draining : PoolDriveState.In,
                IsLost = !drive.IsReadable && record.Ordered is not (PoolDriveState.Out or PoolDriveState.Removed),
            });
        }

        return (map, drives);
    }

    [LoggerMessage(1, LogLevel.Warning, "Drive {Drive} is full while others have room: its share of the pool is smaller by {Reduction:P0} now, and what that leaves over moves elsewhere")]
    private partial void LogReduced(string drive, double reduction);

    [LoggerMessage(2, LogLevel.Information, "Drive {Drive} has more room than others again: its share of the pool is smaller by only {Reduction:P0} now")]
    private partial void LogRaised(string drive, double reduction);

    private async Task WriteAsync(ClusterMap? map, ImmutableSortedDictionary<string, DriveRecord> drives)
    {
        if (ReferenceEquals(map, _map) && drives.SequenceEqual(_drives))
            return;
        PlacementMap encoded = map is null ? NoMap : ReferenceEquals(map, _map) ? _encoded : new PlacementMap(map.Epoch, ClusterMapFormat.Encode(map));
        state.State = new PlacementState { Map = encoded.Encoded, Drives = [.. drives.Values] };
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

        (_map, _encoded, _drives) = (map, encoded, drives);
    }
}

/// <summary>The stored cluster map.</summary>
[GenerateSerializer, Alias("ObjectStore.PlacementState.2")]
public sealed class PlacementState
{
    /// <summary>As docs/formats/cluster-map.md says; empty before the first drive.</summary>
    [Id(0)] public byte[] Map { get; set; } = [];

    /// <summary>By drive id, ordinal; those that were removed too.</summary>
    [Id(1)] public List<DriveRecord> Drives { get; set; } = [];
}

/// <summary>What the pool keeps of a drive beside the map.</summary>
[GenerateSerializer, Immutable, Alias("ObjectStore.DriveRecord")]
public sealed record DriveRecord
{
    /// <summary>32 hexadecimal digits in lower case.</summary>
    [Id(0)] public string DriveId { get; init; } = "";

    /// <summary>The node that registered it last.</summary>
    [Id(1)] public string NodeId { get; init; } = "";

    /// <summary>Where it stands.</summary>
    [Id(2)] public DriveDomain Domain { get; init; } = new("", "", "", "");

    /// <summary>Its share while it is in.</summary>
    [Id(3)] public double Weight { get; init; }

    /// <summary>What an operator ordered: In, Draining, Out or Removed.</summary>
    [Id(4)] public PoolDriveState Ordered { get; init; }

    /// <summary>Whether it was down for too long and has not been heard of since.</summary>
    [Id(5)] public bool IsLost { get; init; }

    /// <summary>Of its share, 0 to 0.9: what it does not get because it was full while others had room.</summary>
    [Id(6)] public double Reduction { get; init; }

    /// <summary>Both together. An order to take the drive out or remove it stands above its loss, that above a drain.</summary>
    public PoolDriveState State => Ordered is PoolDriveState.Out or PoolDriveState.Removed ? Ordered : IsLost ? PoolDriveState.Lost : Ordered;
}
