using System.Collections.Immutable;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// Decides by which way each drive is reached, where more than one node may name it: a drive is moved to another machine, or two addresses lead to one node. This process's own drive comes first,
/// then the way that is in use while its node names the drive and answers, then any other that does. Thread-safe; the directory is changed by nobody else.
/// </summary>
/// <typeparam name="TNode">What stands for a node: compared by reference.</typeparam>
internal sealed class DriveRoutes<TNode>(FragmentStoreDirectory directory) : IDriveSet
    where TNode : class
{
    private readonly Lock _lock = new();
    private readonly Dictionary<Guid, IFragmentStore> _local = [];
    private readonly List<TNode> _order = [];
    private readonly Dictionary<TNode, Offer> _offers = new(ReferenceEqualityComparer.Instance);

    /// <inheritdoc/>
    public void Add(IFragmentStore store)
    {
        lock (_lock)
        {
            _local[store.DriveId] = store;
            Settle(store.DriveId);
        }
    }

    /// <inheritdoc/>
    public void Remove(Guid driveId)
    {
        lock (_lock)
        {
            _local.Remove(driveId);
            Settle(driveId);
        }
    }

    /// <summary>The drives that a node names now, in place of those it named before.</summary>
    public void Follow(TNode node, IReadOnlyList<IFragmentStore> drives, bool isReachable)
    {
        lock (_lock)
        {
            ImmutableDictionary<Guid, IFragmentStore> before = _offers.GetValueOrDefault(node)?.Drives ?? ImmutableDictionary<Guid, IFragmentStore>.Empty;
            if (!_offers.ContainsKey(node)) _order.Add(node);
            _offers[node] = new Offer(drives.ToImmutableDictionary(drive => drive.DriveId), isReachable);
            foreach (Guid id in before.Keys.Union(drives.Select(drive => drive.DriveId))) Settle(id);
        }
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
            if (_offers[node] is not { } offer || offer.IsReachable != reachable || !offer.Drives.TryGetValue(id, out IFragmentStore? store)) continue;
            if (ReferenceEquals(store, preferred)) return store;
            first ??= store;
        }

        return first;
    }

    private sealed record Offer(ImmutableDictionary<Guid, IFragmentStore> Drives, bool IsReachable);
}
