using System.Collections.Immutable;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>What the background plane keeps.</content>
internal sealed partial class WriterSession
{
    private readonly SqliteStatement _selectRepair = connection.Prepare($"SELECT {RepairRows.Columns} FROM repair_queue WHERE extent_id = ?1 AND first_block = ?2");
    private readonly SqliteStatement _replaceRepair = connection.Prepare("INSERT OR REPLACE INTO repair_queue (extent_id, first_block, block_count, placement_group, scheme, shards, reason, spare, recorded_unix_ms, not_before_unix_ms, attempts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    private readonly SqliteStatement _deleteRepair = connection.Prepare("DELETE FROM repair_queue WHERE repair_id = ?1");
    private readonly SqliteStatement _postponeRepair = connection.Prepare("UPDATE repair_queue SET not_before_unix_ms = ?2, attempts = attempts + 1 WHERE repair_id = ?1");
    private readonly SqliteStatement _postponeGarbage = connection.Prepare("UPDATE extent_garbage SET not_before_unix_ms = ?2, attempts = attempts + 1 WHERE garbage_id = ?1");
    private readonly SqliteStatement _replaceCursor = connection.Prepare("INSERT OR REPLACE INTO maintenance_cursor (name, value) VALUES (?1, ?2)");
    private readonly SqliteStatement _deleteCursor = connection.Prepare("DELETE FROM maintenance_cursor WHERE name = ?1");
    private readonly ExtentFinder _extents = new(connection);

    internal bool RecordRepairs(ImmutableArray<RepairRecord> repairs)
    {
        Span<byte> extent = stackalloc byte[16];
        foreach (RepairRecord repair in repairs)
        {
            Ids.Write(extent, repair.ExtentHigh, repair.ExtentLow);
            RepairEntry? before = _selectRepair.Bind(1, extent).Bind(2, repair.FirstBlock).Step() ? RepairRows.Read(_selectRepair) : null;
            _selectRepair.Reset();
            RepairRecord merged = before is null ? repair : repair.MergedWith(before.Record);

            // A replaced row gets an id that was never used: whoever works on the old one cannot end this one.
            _replaceRepair.Bind(1, extent).Bind(2, merged.FirstBlock).Bind(3, merged.BlockCount).Bind(4, merged.PlacementGroup).Bind(5, merged.Scheme)
                .Bind(6, unchecked((long)merged.Shards)).Bind(7, merged.Reason).Bind(8, merged.Spare).Bind(9, merged.RecordedUnixMs).Bind(10, merged.NotBeforeUnixMs)
                .Bind(11, before?.Attempts ?? 0).Run();
        }

        return true;
    }

    internal bool FinishRepairs(ImmutableArray<long> repairIds)
    {
        foreach (long id in repairIds)
        {
            _deleteRepair.Bind(1, id).Run();
        }

        return true;
    }

    internal bool PostponeRepairs(ImmutableArray<Postponement> repairs) => Postpone(_postponeRepair, repairs);

    internal bool PostponeGarbage(ImmutableArray<Postponement> garbage) => Postpone(_postponeGarbage, garbage);

    internal bool SetCursor(string name, byte[]? value)
    {
        if (value is null)
        {
            _deleteCursor.BindText(1, name).Run();
        }
        else
        {
            _replaceCursor.BindText(1, name).Bind(2, value).Run();
        }

        return true;
    }

    internal ImmutableArray<ExtentUse> CondemnExtents(ImmutableArray<CondemnedExtent> extents, byte[][] records, long notBeforeUnixMs)
    {
        // All are looked at before the first is written: a record that cannot be read fails the call with nothing done.
        ImmutableArray<ExtentUse> found = [.. extents.Select(extent => _extents.Find(extent.Reference))];
        for (int i = 0; i < found.Length; i++)
        {
            if (found[i] == ExtentUse.Unnamed && !_extents.IsGarbage(extents[i].Layout.ExtentHigh, extents[i].Layout.ExtentLow))
            {
                InsertGarbage(extents[i].Layout, records[i], notBeforeUnixMs);
            }
        }

        return found;
    }

    private static bool Postpone(SqliteStatement statement, ImmutableArray<Postponement> postponements)
    {
        foreach (Postponement postponement in postponements)
        {
            statement.Bind(1, postponement.Id).Bind(2, postponement.NotBeforeUnixMs).Run();
        }

        return true;
    }
}
