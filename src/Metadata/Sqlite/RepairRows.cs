using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>Rows of repair_queue as records.</summary>
internal static class RepairRows
{
    internal const string Columns = "repair_id, extent_id, first_block, block_count, placement_group, scheme, shards, reason, recorded_unix_ms, not_before_unix_ms, attempts";

    internal static RepairEntry Read(SqliteStatement row)
    {
        ReadOnlySpan<byte> extent = row.Blob(1);
        if (extent.Length != 16)
        {
            throw new MetadataRecordException("An extent id in the repair queue is not 16 bytes long.");
        }

        (ulong high, ulong low) = Ids.Read(extent);
        return new RepairEntry(
            row.Int64(0),
            new RepairRecord(high, low, (int)row.Int64(2), (int)row.Int64(3), (int)row.Int64(4), (int)row.Int64(5), unchecked((ulong)row.Int64(6)), (int)row.Int64(7), row.Int64(8), row.Int64(9)),
            (int)row.Int64(10));
    }
}
