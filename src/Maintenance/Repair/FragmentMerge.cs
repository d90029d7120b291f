using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Maintenance.Repair;

/// <summary>A fragment and the drive whose index lists it.</summary>
internal readonly record struct FoundFragment(Guid Drive, FragmentEntry Entry);

/// <summary>What all drives of a merge list of one block.</summary>
/// <param name="Fragments">At least one; all of one group and scheme.</param>
internal sealed record BlockFragments(ExtentId Extent, int Block, int PlacementGroup, ushort SchemeId, IReadOnlyList<FoundFragment> Fragments);

/// <summary>
/// The listings of several drives as one, by extent and block: which shards of each block are where. Reads a page of each drive at a time and asks for the next while one is used up,
/// so memory is bounded by two pages a drive. A drive that fails on the way is left out from there on, and named: from then on nothing can be said of what it holds. Used by
/// one caller at a time.
/// </summary>
internal sealed class FragmentMerge(IEnumerable<IFragmentStore> drives, IReadOnlySet<int>? groups, FragmentKey? after, ExtentId? until, int pageEntries)
{
    private readonly PriorityQueue<Listing, FragmentKey> _heads = new();
    private readonly List<FoundFragment> _block = [];
    private readonly Dictionary<Guid, Exception> _failed = [];
    private List<IFragmentStore>? _unopened = [.. drives];

    /// <summary>Drives that could not be listed to the end, and why.</summary>
    public IReadOnlyDictionary<Guid, Exception> Failed => _failed;

    /// <summary>Entries read so far, of all drives.</summary>
    public long Entries { get; private set; }

    /// <summary>The next block; null behind the last.</summary>
    public async ValueTask<BlockFragments?> NextAsync(CancellationToken cancellationToken)
    {
        if (_unopened is { } unopened)
        {
            _unopened = null;
            Listing[] listings = [.. unopened.Select(drive => new Listing(drive, groups, after, pageEntries, cancellationToken))];
            foreach (Listing listing in listings)
                await AdvanceAsync(listing, cancellationToken).ConfigureAwait(false);
        }

        if (!_heads.TryPeek(out _, out FragmentKey first) || (until is { } end && first.Extent.CompareTo(end) >= 0))
            return null;
        _block.Clear();
        while (_heads.TryPeek(out Listing? listing, out FragmentKey key) && key.Extent == first.Extent && key.Block == first.Block)
        {
            _heads.Dequeue();
            do
            {
                _block.Add(new FoundFragment(listing.Drive.DriveId, listing.Current));
                Entries++;
            }
            while (await listing.MoveNextAsync(_failed, cancellationToken).ConfigureAwait(false) && listing.Current.Key is var next && next.Extent == first.Extent && next.Block == first.Block);
            if (listing.HasCurrent)
                _heads.Enqueue(listing, listing.Current.Key);
        }

        (int group, ushort scheme) = Agreed();
        return new BlockFragments(first.Extent, first.Block, group, scheme, [.. _block.Where(found => found.Entry.PlacementGroup == group && found.Entry.SchemeId == scheme)]);
    }

    /// <summary>The group and scheme that most of the fragments have. One that says another is not of this block, whatever its key.</summary>
    private (int Group, ushort Scheme) Agreed()
    {
        FragmentEntry first = _block[0].Entry;
        if (_block.TrueForAll(found => found.Entry.PlacementGroup == first.PlacementGroup && found.Entry.SchemeId == first.SchemeId))
            return (first.PlacementGroup, first.SchemeId);
        return _block.GroupBy(found => (found.Entry.PlacementGroup, found.Entry.SchemeId)).OrderByDescending(group => group.Count()).ThenBy(group => group.Key).First().Key;
    }

    private async ValueTask AdvanceAsync(Listing listing, CancellationToken cancellationToken)
    {
        if (await listing.MoveNextAsync(_failed, cancellationToken).ConfigureAwait(false))
            _heads.Enqueue(listing, listing.Current.Key);
    }

    private sealed class Listing
    {
        private readonly IReadOnlySet<int>? _groups;
        private readonly int _pageEntries;
        private Task<FragmentPage>? _next;
        private IReadOnlyList<FragmentEntry> _page = [];
        private int _at = -1;

        public Listing(IFragmentStore drive, IReadOnlySet<int>? groups, FragmentKey? after, int pageEntries, CancellationToken cancellationToken)
        {
            (Drive, _groups, _pageEntries) = (drive, groups, pageEntries);
            _next = ListAsync(after, cancellationToken);
        }

        public IFragmentStore Drive { get; }

        public bool HasCurrent => _at < _page.Count;

        public FragmentEntry Current => _page[_at];

        public async ValueTask<bool> MoveNextAsync(Dictionary<Guid, Exception> failed, CancellationToken cancellationToken)
        {
            _at++;
            while (_at >= _page.Count && _next is { } next)
            {
                try
                {
                    FragmentPage page = await next.ConfigureAwait(false);
                    (_page, _at) = (page.Entries, 0);
                    _next = page.Next is { } more ? ListAsync(more, cancellationToken) : null;
                }
                catch (Exception e) when (!cancellationToken.IsCancellationRequested)
                {
                    failed[Drive.DriveId] = e;
                    (_page, _at, _next) = ([], 0, null);
                }
            }

            return HasCurrent;
        }

        // A task, since a page is asked for before the one in hand is used up. Its fault is seen when the page is due; a merge that is given up leaves none unobserved.
        private Task<FragmentPage> ListAsync(FragmentKey? after, CancellationToken cancellationToken)
        {
            Task<FragmentPage> page = RunAsync();
            _ = page.ContinueWith(static done => _ = done.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            return page;

            async Task<FragmentPage> RunAsync() => await Drive.ListAsync(_groups, after, _pageEntries, cancellationToken).ConfigureAwait(false);
        }
    }
}
