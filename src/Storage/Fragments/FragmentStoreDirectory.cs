using System.Collections.Concurrent;

namespace ObjectStore.Storage.Fragments;

/// <summary>The drives that can be reached from this process, as a table that changes while it is used. Thread-safe. Does not own the stores.</summary>
public sealed class FragmentStoreDirectory : IFragmentStoreDirectory
{
    private readonly ConcurrentDictionary<Guid, IFragmentStore> _stores = new();

    public FragmentStoreDirectory(IEnumerable<IFragmentStore>? stores = null)
    {
        foreach (IFragmentStore store in stores ?? [])
            Set(store);
    }

    public IReadOnlyCollection<IFragmentStore> All => [.. _stores.Values];

    public IFragmentStore? Find(Guid driveId) => _stores.GetValueOrDefault(driveId);

    /// <summary>Adds a drive, or replaces the way to one; the caller disposes of the store that was there.</summary>
    public void Set(IFragmentStore store) => _stores[store.DriveId] = store;

    /// <summary>Adds a drive; false where it is there already.</summary>
    public bool TryAdd(IFragmentStore store) => _stores.TryAdd(store.DriveId, store);

    /// <summary>Takes a drive out; null where it was not there. The caller disposes of it.</summary>
    public IFragmentStore? Remove(Guid driveId) => _stores.TryRemove(driveId, out IFragmentStore? store) ? store : null;
}
