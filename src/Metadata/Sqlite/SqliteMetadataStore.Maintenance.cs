using System.Collections.Immutable;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>What the background plane keeps.</content>
public sealed partial class SqliteMetadataStore
{
    /// <inheritdoc/>
    public async ValueTask RecordRepairsAsync(ImmutableArray<RepairRecord> repairs, CancellationToken cancellationToken = default)
    {
        if (!repairs.IsDefaultOrEmpty)
        {
            await _committer.SubmitAsync("metadata.record_repairs", session => session.RecordRepairs(repairs), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<RepairEntry>> ListRepairsAsync(long nowUnixMs, int maxRepairs, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxRepairs);
        return ReadAsync((nowUnixMs, maxRepairs), static (reader, query) => reader.ListRepairs(query.nowUnixMs, query.maxRepairs), cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask FinishRepairsAsync(ImmutableArray<long> repairIds, CancellationToken cancellationToken = default)
    {
        if (!repairIds.IsDefaultOrEmpty)
        {
            await _committer.SubmitAsync("metadata.finish_repairs", session => session.FinishRepairs(repairIds), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask PostponeRepairsAsync(ImmutableArray<Postponement> repairs, CancellationToken cancellationToken = default)
    {
        if (!repairs.IsDefaultOrEmpty)
        {
            await _committer.SubmitAsync("metadata.postpone_repairs", session => session.PostponeRepairs(repairs), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public ValueTask<long> CountRepairsAsync(long writtenByUnixMs = long.MaxValue, CancellationToken cancellationToken = default) =>
        ReadAsync(writtenByUnixMs, static (reader, recordedBy) => reader.CountRepairs(recordedBy), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask PostponeGarbageAsync(ImmutableArray<Postponement> garbage, CancellationToken cancellationToken = default)
    {
        if (!garbage.IsDefaultOrEmpty)
        {
            await _committer.SubmitAsync("metadata.postpone_garbage", session => session.PostponeGarbage(garbage), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<MaintenanceCursor>> ListCursorsAsync(string prefix, CancellationToken cancellationToken = default) =>
        ReadAsync(prefix, static (reader, prefix) => reader.ListCursors(prefix), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask SetCursorAsync(string name, byte[]? value, CancellationToken cancellationToken = default) =>
        await _committer.SubmitAsync("metadata.set_cursor", session => session.SetCursor(name, value), cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<ExtentUse>> FindExtentsAsync(ImmutableArray<ExtentReference> extents, CancellationToken cancellationToken = default) =>
        extents.IsDefaultOrEmpty ? ValueTask.FromResult(ImmutableArray<ExtentUse>.Empty) : ReadAsync(extents, static (reader, extents) => reader.FindExtents(extents), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ExtentSearchPage> SearchExtentsAsync(ExtentSearch search, CancellationToken cancellationToken = default) =>
        ReadAsync(search, static (reader, search) => reader.SearchExtents(search), cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ImmutableArray<ExtentUse>> CondemnExtentsAsync(ImmutableArray<CondemnedExtent> extents, long notBeforeUnixMs, CancellationToken cancellationToken = default)
    {
        if (extents.IsDefaultOrEmpty)
        {
            return ValueTask.FromResult(ImmutableArray<ExtentUse>.Empty);
        }

        byte[][] records = [.. extents.Select(extent => MetadataRecords.EncodePart(extent.Layout))];
        return _committer.SubmitAsync("metadata.condemn_extents", session => session.CondemnExtents(extents, records, notBeforeUnixMs), cancellationToken);
    }
}
