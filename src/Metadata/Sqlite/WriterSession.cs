using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// What the writer does inside a transaction, with its prepared statements. Every operation reads and decides first and writes then, so one that answers
/// "no" has written nothing and needs no savepoint.
/// </summary>
internal sealed partial class WriterSession(SqliteConnection connection)
{
    private readonly SqliteStatement _insertGarbage = connection.Prepare("INSERT INTO extent_garbage (not_before_unix_ms, record, extent_high, extent_low) VALUES (?1, ?2, ?3, ?4)");
    private readonly SqliteStatement _deleteGarbage = connection.Prepare("DELETE FROM extent_garbage WHERE garbage_id = ?1");

    internal bool AddGarbage(ImmutableArray<PartLayout> extents, byte[][] records, long notBeforeUnixMs)
    {
        for (int i = 0; i < records.Length; i++)
        {
            InsertGarbage(extents[i], records[i], notBeforeUnixMs);
        }

        return true;
    }

    internal bool RemoveGarbage(ReadOnlySpan<long> garbageIds)
    {
        foreach (long id in garbageIds)
        {
            _deleteGarbage.Bind(1, id).Run();
        }

        return true;
    }

    private void InsertGarbage(PartLayout extent, long notBeforeUnixMs) => InsertGarbage(extent, MetadataRecords.EncodePart(extent), notBeforeUnixMs);

    private void InsertGarbage(PartLayout extent, ReadOnlySpan<byte> record, long notBeforeUnixMs) =>
        _insertGarbage.Bind(1, notBeforeUnixMs).Bind(2, record).Bind(3, unchecked((long)extent.ExtentHigh)).Bind(4, unchecked((long)extent.ExtentLow)).Run();

    /// <summary>Whether any of the extents waits to be deleted: what names it now would lose its bytes.</summary>
    private bool HoldsGarbage(ImmutableArray<PartLayout> extents)
    {
        foreach (PartLayout extent in extents.AsSpan())
        {
            if (_extents.IsGarbage(extent.ExtentHigh, extent.ExtentLow))
            {
                return true;
            }
        }

        return false;
    }
}
