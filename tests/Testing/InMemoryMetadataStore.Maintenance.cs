using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.Metadata;

namespace ObjectStore.Testing;

/// <content>What the background plane keeps.</content>
public sealed partial class InMemoryMetadataStore
{
    private readonly Dictionary<(ulong High, ulong Low, int FirstBlock), RepairEntry> _repairs = [];
    private readonly SortedDictionary<string, byte[]> _cursors = new(StringComparer.Ordinal);
    private long _lastRepairId;

    public async ValueTask RecordRepairsAsync(ImmutableArray<RepairRecord> repairs, CancellationToken cancellationToken = default) =>
        await RunAsync("RecordRepairs", repairs, () =>
        {
            foreach (RepairRecord repair in repairs)
            {
                (ulong, ulong, int) key = (repair.ExtentHigh, repair.ExtentLow, repair.FirstBlock);
                RepairEntry? before = _repairs.GetValueOrDefault(key);
                _repairs[key] = new RepairEntry(++_lastRepairId, before is null ? repair : repair.MergedWith(before.Record), before?.Attempts ?? 0);
            }

            return true;
        }, cancellationToken);

    public ValueTask<ImmutableArray<RepairEntry>> ListRepairsAsync(long nowUnixMs, int maxRepairs, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<RepairEntry>>("ListRepairs", nowUnixMs, () =>
            [.. _repairs.Values
                .Where(repair => repair.Record.NotBeforeUnixMs <= nowUnixMs)
                .OrderBy(repair => repair.Record.Spare).ThenBy(repair => repair.Record.NotBeforeUnixMs).ThenBy(repair => repair.RepairId)
                .Take(maxRepairs)], cancellationToken);

    public async ValueTask FinishRepairsAsync(ImmutableArray<long> repairIds, CancellationToken cancellationToken = default) =>
        await RunAsync("FinishRepairs", repairIds, () =>
        {
            foreach ((ulong, ulong, int) key in _repairs.Where(repair => repairIds.Contains(repair.Value.RepairId)).Select(repair => repair.Key).ToArray())
                _repairs.Remove(key);
            return true;
        }, cancellationToken);

    public async ValueTask PostponeRepairsAsync(ImmutableArray<Postponement> repairs, CancellationToken cancellationToken = default) =>
        await RunAsync("PostponeRepairs", repairs, () =>
        {
            foreach ((long id, long notBefore) in repairs)
            {
                if (_repairs.FirstOrDefault(repair => repair.Value.RepairId == id) is { Value: { } entry } found)
                    _repairs[found.Key] = entry with { Record = entry.Record with { NotBeforeUnixMs = notBefore }, Attempts = entry.Attempts + 1 };
            }

            return true;
        }, cancellationToken);

    public ValueTask<long> CountRepairsAsync(long writtenByUnixMs = long.MaxValue, CancellationToken cancellationToken = default) =>
        RunAsync("CountRepairs", null, () => (long)_repairs.Values.Count(entry => entry.Record.RecordedUnixMs <= writtenByUnixMs || entry.Record.Reason != 0), cancellationToken);

    public async ValueTask PostponeGarbageAsync(ImmutableArray<Postponement> garbage, CancellationToken cancellationToken = default) =>
        await RunAsync("PostponeGarbage", garbage, () =>
        {
            foreach ((long id, long notBefore) in garbage)
            {
                if (_garbage.TryGetValue(id, out Garbage? found))
                    _garbage[id] = new Garbage(found.Record with { Attempts = found.Record.Attempts + 1 }, notBefore);
            }

            return true;
        }, cancellationToken);

    public ValueTask<ImmutableArray<MaintenanceCursor>> ListCursorsAsync(string prefix, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<MaintenanceCursor>>("ListCursors", prefix, () =>
            [.. _cursors.Where(cursor => cursor.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(cursor => new MaintenanceCursor(cursor.Key, cursor.Value))], cancellationToken);

    public async ValueTask SetCursorAsync(string name, byte[]? value, CancellationToken cancellationToken = default) =>
        await RunAsync("SetCursor", name, () =>
        {
            if (value is null)
                _cursors.Remove(name);
            else
                _cursors[name] = value;
            return true;
        }, cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> FindExtentsAsync(ImmutableArray<ExtentReference> extents, CancellationToken cancellationToken = default) =>
        RunAsync<ImmutableArray<ExtentUse>>("FindExtents", extents, () => [.. extents.Select(FindExtent)], cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> CondemnExtentsAsync(ImmutableArray<CondemnedExtent> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        RunAsync("CondemnExtents", extents, () =>
        {
            ImmutableArray<ExtentUse> found = [.. extents.Select(extent => FindExtent(extent.Reference))];
            for (int i = 0; i < found.Length; i++)
            {
                if (found[i] == ExtentUse.Unnamed && !_garbageOf.ContainsKey((extents[i].Layout.ExtentHigh, extents[i].Layout.ExtentLow)))
                    AddGarbage(extents[i].Layout, notBeforeUnixMs);
            }

            return found;
        }, cancellationToken);

    public ValueTask<ExtentSearchPage> SearchExtentsAsync(ExtentSearch search, CancellationToken cancellationToken = default) =>
        RunAsync("SearchExtents", search, () => new ExtentSearchPage([.. AllExtents().Where(search.Extents.Contains).Distinct()], null), cancellationToken);

    private IEnumerable<(ulong High, ulong Low)> AllExtents() => _uploads.Values.SelectMany(upload => upload.Parts.Values).Select(part => part.Layout)
        .Concat(_buckets.Values.SelectMany(bucket => bucket.Versions.Values).SelectMany(versions => versions).SelectMany(version => version.Parts))
        .Select(part => (part.ExtentHigh, part.ExtentLow));

    private ExtentUse FindExtent(ExtentReference extent)
    {
        bool IsIt(PartLayout part) => part.ExtentHigh == extent.ExtentHigh && part.ExtentLow == extent.ExtentLow;
        bool named = VersionsOf(extent.Bucket, Encoding.UTF8.GetString(extent.KeyUtf8.Span))?.Any(version => version.Parts.Any(IsIt)) == true
            || _uploads.GetValueOrDefault(extent.Version)?.Parts.Values.Any(part => IsIt(part.Layout)) == true;
        return named ? ExtentUse.Named : _garbageOf.ContainsKey((extent.ExtentHigh, extent.ExtentLow)) ? ExtentUse.Garbage : ExtentUse.Unnamed;
    }
}
