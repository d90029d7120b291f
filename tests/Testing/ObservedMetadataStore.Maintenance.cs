using System.Collections.Immutable;
using ObjectStore.Metadata;

namespace ObjectStore.Testing;

/// <content>What the background plane keeps.</content>
public sealed partial class ObservedMetadataStore
{
    public async ValueTask RecordRepairsAsync(ImmutableArray<RepairRecord> repairs, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("RecordRepairs", repairs, () => DoneAsync(inner.RecordRepairsAsync(repairs, cancellationToken)), cancellationToken);

    public ValueTask<ImmutableArray<RepairEntry>> ListRepairsAsync(long nowUnixMs, int maxRepairs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListRepairs", nowUnixMs, () => inner.ListRepairsAsync(nowUnixMs, maxRepairs, cancellationToken), cancellationToken);

    public async ValueTask FinishRepairsAsync(ImmutableArray<long> repairIds, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("FinishRepairs", repairIds, () => DoneAsync(inner.FinishRepairsAsync(repairIds, cancellationToken)), cancellationToken);

    public async ValueTask PostponeRepairsAsync(ImmutableArray<Postponement> repairs, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("PostponeRepairs", repairs, () => DoneAsync(inner.PostponeRepairsAsync(repairs, cancellationToken)), cancellationToken);

    public ValueTask<long> CountRepairsAsync(long writtenByUnixMs = long.MaxValue, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("CountRepairs", null, () => inner.CountRepairsAsync(writtenByUnixMs, cancellationToken), cancellationToken);

    public async ValueTask PostponeGarbageAsync(ImmutableArray<Postponement> garbage, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("PostponeGarbage", garbage, () => DoneAsync(inner.PostponeGarbageAsync(garbage, cancellationToken)), cancellationToken);

    public ValueTask<ImmutableArray<MaintenanceCursor>> ListCursorsAsync(string prefix, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("ListCursors", prefix, () => inner.ListCursorsAsync(prefix, cancellationToken), cancellationToken);

    public async ValueTask SetCursorAsync(string name, byte[]? value, CancellationToken cancellationToken = default) =>
        await _faults.RunAsync("SetCursor", name, () => DoneAsync(inner.SetCursorAsync(name, value, cancellationToken)), cancellationToken);

    public ValueTask<ExtentSearchPage> SearchExtentsAsync(ExtentSearch search, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("SearchExtents", search, () => inner.SearchExtentsAsync(search, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> FindExtentsAsync(ImmutableArray<ExtentReference> extents, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("FindExtents", extents, () => inner.FindExtentsAsync(extents, cancellationToken), cancellationToken);

    public ValueTask<ImmutableArray<ExtentUse>> CondemnExtentsAsync(ImmutableArray<CondemnedExtent> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default) =>
        _faults.RunAsync("CondemnExtents", extents, () => inner.CondemnExtentsAsync(extents, notBeforeUnixMs, cancellationToken), cancellationToken);
}
