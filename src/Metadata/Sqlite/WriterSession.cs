using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// What the writer does inside a transaction, with its prepared statements. Every operation reads and decides first and writes then, so one that answers
/// "no" has written nothing and needs no savepoint.
/// </summary>
internal sealed partial class WriterSession(SqliteConnection connection)
{
    private readonly SqliteStatement _insertGarbage = connection.Prepare("INSERT INTO extent_garbage (not_before_unix_ms, record) VALUES (?1, ?2)");
    private readonly SqliteStatement _deleteGarbage = connection.Prepare("DELETE FROM extent_garbage WHERE garbage_id = ?1");

    internal bool AddGarbage(byte[][] records, long notBeforeUnixMs)
    {
        foreach (byte[] record in records)
        {
            InsertGarbage(record, notBeforeUnixMs);
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

    private void InsertGarbage(PartLayout extent, long notBeforeUnixMs) => InsertGarbage(MetadataRecords.EncodePart(extent), notBeforeUnixMs);

    private void InsertGarbage(ReadOnlySpan<byte> record, long notBeforeUnixMs) => _insertGarbage.Bind(1, notBeforeUnixMs).Bind(2, record).Run();
}
