using System.Collections.Immutable;
using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// Decides by which way each drive is reached, where more than one node may name it: a drive is moved to another machine, or two addresses lead to one node. This process's own drive comes first,
/// then the way that is in use while its node names the drive and answers, then any other that does. Thread-safe; the directory is changed by nobody else.
///
/// Where a node begins to name a drive, or is back with it, while another node that answers has it, or this process, one of the two has a copy. The newcomer's is set aside: it is not used, also
/// not when the other becomes unreachable, until that one no longer names the drive, which has moved then, or until the newcomer has ceased to name it. Where it is named again a short while later,
/// its node had only given it up, and the copy that took its place gives way; after that the copy has got too much that the other lacks, and it is the other that is set aside.
/// </summary>
/// <typeparam name="TNode">What stands for one address of a node: compared by reference.</typeparam>
/// <param name="directory">Has the way in use to each drive.</param>
/// <param name="ownId">The id by which this process is known as a node.</param>
/// <param name="nodeIdOf">The id of a node that has answered: the same for all of its addresses.</param>
/// <param name="events">Is told of copies.</param>
/// <param name="time">Says how long ago a drive was given up.</param>
internal sealed class DriveRoutes<TNode>(FragmentStoreDirectory directory, string ownId, Func<TNode, string> nodeIdOf, IStorageEvents events, TimeProvider time) : IDriveSet
    where TNode : class
{
    /// <summary>What a drive lacks after so long an absence is found at the next comparison of the newest extents, each of which looks back seven minutes before the one before.</summary>
    public static readonly TimeSpan GivesBackWithin = TimeSpan.FromMinutes(5);

    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, IFragmentStore> _local = [];
    private readonly List<TNode> _order = [];
    private readonly Dictionary<TNode, Offer> _offers = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<Guid, HashSet<TNode>> _aside = [];
    private readonly Dictionary<Guid, (string NodeId, long At)> _former = []; // who had a drive that a node set aside has now, and since when

    /// <inheritdoc/>
    public void Add(IFragmentStore store)
    {
        lock (_lock)
        {
            _local[store.DriveId] = store;
            _former.Remove(store.DriveId);
            foreach (TNode node in _order) SetAsideCopy(store.DriveId, node);
            Settle(store.DriveId);
        }
    }

    /// <inheritdoc/>
    public void Remove(Guid driveId)
    {
        lock (_lock)
        {
            _local.Remove(driveId);
            TakeBackMoved(driveId, former: null);
            Settle(driveId);
        }
    }

    /// <summary>The drives that a node names now, in place of those it named before.</summary>
    public void Follow(TNode node, IReadOnlyList<IFragmentStore> drives, bool isReachable)
    {
        lock (_lock)
        {
            Offer before = _offers.GetValueOrDefault(node) ?? new Offer(nodeIdOf(node), ImmutableDictionary<Guid, IFragmentStore>.Empty, false);
            if (!_offers.ContainsKey(node)) _order.Add(node);
            _offers[node] = new Offer(nodeIdOf(node), drives.ToImmutableDictionary(drive => drive.DriveId), isReachable);
            foreach (Guid id in before.Drives.Keys.Union(drives.Select(drive => drive.DriveId)))
            {
                if (!_offers[node].Drives.ContainsKey(id))
                {
                    if (_aside.TryGetValue(id, out HashSet<TNode>? aside)) aside.Remove(node);
                    TakeBackMoved(id, before.NodeId);
                }
                else if (!before.IsReachable || !before.Drives.ContainsKey(id))
                {
                    SetAsideCopy(id, node);
                }

                Settle(id);
            }
        }
    }

    /// <summary>
    /// The nodes by which drives were reached before this process started, to be told once, when the nodes that answer have been followed: else the order in which they are asked would decide which of
    /// two copies is used. A node that does not answer yet gets its drive back as one that had given it up for a while.
    /// </summary>
    public void Expect(IReadOnlyDictionary<Guid, string> nodeIds)
    {
        lock (_lock)
        {
            foreach ((Guid id, string nodeId) in nodeIds)
            {
                if (_local.ContainsKey(id) || nodeId == ownId) continue;
                if (!_order.Exists(node => _offers[node].NodeId == nodeId && _offers[node].IsReachable && _offers[node].Drives.ContainsKey(id)))
                {
                    // Also where nobody has answered yet: a copy's node may be the first.
                    _former[id] = (nodeId, time.GetTimestamp());
                    continue;
                }

                if (HolderBeside(id, nodeId, reachable: false) is null) continue;
                TakeBackFromCopies(id, nodeId);
                Settle(id);
            }
        }
    }

    /// <summary>The drives that a node names, without those that are set aside; none before <see cref="Follow"/>.</summary>
    public IReadOnlyList<IFragmentStore> DrivesOf(TNode node)
    {
        lock (_lock)
            return _offers.TryGetValue(node, out Offer? offer) ? [.. offer.Drives.Values.Where(drive => !IsAside(drive.DriveId, node))] : [];
    }

    private bool IsAside(Guid id, TNode node) => _aside.TryGetValue(id, out HashSet<TNode>? aside) && aside.Contains(node);

    private void SetAsideCopy(Guid id, TNode node)
    {
        Offer offer = _offers[node];
        if (_former.TryGetValue(id, out (string NodeId, long At) former) && former.NodeId == offer.NodeId && offer.IsReachable && offer.Drives.ContainsKey(id))
        {
            _former.Remove(id);
            if (time.GetElapsedTime(former.At) <= GivesBackWithin)
            {
                TakeBackFromCopies(id, offer.NodeId);
                return;
            }
        }

        if (!offer.IsReachable || !offer.Drives.ContainsKey(id) || IsAside(id, node) || HolderBeside(id, offer.NodeId, reachable: true) is not { } holder) return;
        if (!_aside.TryGetValue(id, out HashSet<TNode>? aside)) _aside[id] = aside = new HashSet<TNode>(ReferenceEqualityComparer.Instance);
        bool isTold = aside.Any(other => _offers[other].NodeId == offer.NodeId);
        aside.Add(node);
        if (!isTold) events.DriveNamedTwice(id, holder, offer.NodeId);
    }

    /// <summary>The node that had the drive before a copy took its place names it again: it had only given it up for a while.</summary>
    private void TakeBackFromCopies(Guid id, string holder)
    {
        if (!_aside.TryGetValue(id, out HashSet<TNode>? aside)) _aside[id] = aside = new HashSet<TNode>(ReferenceEqualityComparer.Instance);
        aside.RemoveWhere(node => _offers[node].NodeId == holder);
        foreach (TNode copy in _order.Where(node => _offers[node].NodeId != holder && _offers[node].Drives.ContainsKey(id)))
        {
            if (aside.Add(copy)) events.DriveNamedTwice(id, holder, _offers[copy].NodeId);
        }

        if (aside.Count == 0) _aside.Remove(id);
    }

    /// <summary>A node that does not answer has what it named last, so that no copy takes the place of its drives.</summary>
    /// <param name="former">Whose drive it was: where it names it again, that is the one.</param>
    private void TakeBackMoved(Guid id, string? former)
    {
        if (!_aside.TryGetValue(id, out HashSet<TNode>? aside)) return;
        bool isTold = false;
        foreach (TNode node in _order.Where(aside.Contains).OrderByDescending(node => _offers[node].IsReachable).ToArray())
        {
            if (HolderBeside(id, _offers[node].NodeId, reachable: false) is not null) continue;
            aside.Remove(node);
            if (former is not null && former != _offers[node].NodeId) _former[id] = (former, time.GetTimestamp());
            if (!isTold) events.DriveMoved(id, _offers[node].NodeId);
            isTold = true;
        }

        if (aside.Count == 0) _aside.Remove(id);
    }

    /// <summary>The id of another node that has the drive and is not set aside, of this process first; null where there is none.</summary>
    private string? HolderBeside(Guid id, string nodeId, bool reachable)
    {
        if (_local.ContainsKey(id) && nodeId != ownId) return ownId;
        foreach (TNode node in _order)
        {
            Offer offer = _offers[node];
            if (offer.NodeId != nodeId && offer.Drives.ContainsKey(id) && (offer.IsReachable || !reachable) && !IsAside(id, node)) return offer.NodeId;
        }

        return null;
    }

    private void Settle(Guid id)
    {
        IFragmentStore? current = directory.Find(id);
        IFragmentStore? best = _local.GetValueOrDefault(id) ?? Offers(id, reachable: true, current) ?? Offers(id, reachable: false, current);
        if (best is null) directory.Remove(id);
        else if (!ReferenceEquals(best, current)) directory.Set(best);
    }

    private IFragmentStore? Offers(Guid id, bool reachable, IFragmentStore? preferred)
    {
        IFragmentStore? first = null;
        foreach (TNode node in _order)
        {
            if (_offers[node] is not { } offer || offer.IsReachable != reachable || IsAside(id, node) || !offer.Drives.TryGetValue(id, out IFragmentStore? store)) continue;
            if (ReferenceEquals(store, preferred)) return store;
            first ??= store;
        }

        return first;
    }

    private sealed record Offer(string NodeId, ImmutableDictionary<Guid, IFragmentStore> Drives, bool IsReachable);
}
