using System.Buffers.Binary;
using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// Reads all parts and then all versions, in the order of their keys. Parts first: a completion moves them into a version, which is seen there if its parts were gone before they were come to.
/// </summary>
internal sealed class ExtentSearcher(SqliteConnection connection)
{
    private const byte InParts = 0;
    private const byte InVersions = 1;

    private readonly SqliteStatement _parts = connection.Prepare(
        "SELECT record, upload_id, part_number FROM upload_part WHERE (upload_id, part_number) > (?1, ?2) ORDER BY upload_id, part_number LIMIT ?3");

    // Sequences fall within a key: the rest of the key first, then the keys behind it.
    private readonly SqliteStatement _restOfKey = connection.Prepare(
        "SELECT record, bucket_id, object_key, sequence FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 AND sequence < ?3 ORDER BY sequence DESC LIMIT ?4");

    // What was written anew since the key was begun: a version that is rewritten keeps its extents and moves to the top.
    private readonly SqliteStatement _newOfKey = connection.Prepare(
        "SELECT record, bucket_id, object_key, sequence FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 AND sequence > ?3 ORDER BY sequence");

    private readonly SqliteStatement _nextKeys = connection.Prepare(
        "SELECT record, bucket_id, object_key, sequence FROM object_version WHERE (bucket_id, object_key) > (?1, ?2) ORDER BY bucket_id, object_key, sequence DESC LIMIT ?3");

    internal ExtentSearchPage Search(ExtentSearch search)
    {
        byte[] at = search.After ?? PartsAt(new byte[16], long.MinValue);
        HashSet<(ulong, ulong)> named = [];
        int left = Math.Max(1, search.MaxRecords);
        if (at[0] == InParts)
        {
            int read = Read(_parts.Bind(1, at.AsSpan(9)).Bind(2, BinaryPrimitives.ReadInt64LittleEndian(at.AsSpan(1))).Bind(3, left), record => [MetadataRecords.DecodePart(record)], row => PartsAt(row.Blob(1), row.Int64(2)));
            at = read < left ? VersionsAt(long.MinValue, [], 0, long.MaxValue) : at;
            left -= read;
        }

        if (left > 0)
        {
            byte[] begun = at;
            int read = Read(_restOfKey.Bind(1, Bucket(begun)).Bind(2, begun.AsSpan(25)).Bind(3, Sequence(begun)).Bind(4, left), record => MetadataRecords.DecodeVersion(record).Parts, Behind);
            if (read < left)
                Read(_newOfKey.Bind(1, Bucket(begun)).Bind(2, begun.AsSpan(25)).Bind(3, Highest(begun)), record => MetadataRecords.DecodeVersion(record).Parts, _ => at);
            left -= read;
        }

        if (left > 0)
        {
            int read = Read(_nextKeys.Bind(1, Bucket(at)).Bind(2, at.AsSpan(25)).Bind(3, left), record => MetadataRecords.DecodeVersion(record).Parts, Behind);
            if (read < left)
                return new ExtentSearchPage([.. named], null);
        }

        return new ExtentSearchPage([.. named], at);

        byte[] Behind(SqliteStatement row)
        {
            bool isSameKey = row.Int64(1) == Bucket(at) && row.Blob(2).SequenceEqual(at.AsSpan(25));
            return VersionsAt(row.Int64(1), row.Blob(2), row.Int64(3), isSameKey ? Highest(at) : row.Int64(3));
        }

        int Read(SqliteStatement rows, Decoder decode, Func<SqliteStatement, byte[]> position)
        {
            int read = 0;
            try
            {
                for (; rows.Step(); read++)
                {
                    try
                    {
                        foreach (PartLayout part in decode(rows.Blob(0)).AsSpan())
                        {
                            if (search.Extents.Contains((part.ExtentHigh, part.ExtentLow)))
                                named.Add((part.ExtentHigh, part.ExtentLow));
                        }
                    }
                    catch (MetadataRecordException)
                    {
                        named.UnionWith(search.Extents);
                    }

                    at = position(rows);
                }
            }
            finally
            {
                rows.Reset();
            }

            return read;
        }
    }

    // A byte that says where, the part's number, its upload.
    private static byte[] PartsAt(ReadOnlySpan<byte> upload, long number)
    {
        byte[] at = [InParts, .. new byte[8], .. upload];
        BinaryPrimitives.WriteInt64LittleEndian(at.AsSpan(1), number);
        return at;
    }

    // The same, the bucket, the sequence, the highest sequence there was when the key was begun, the key.
    private static byte[] VersionsAt(long bucket, ReadOnlySpan<byte> key, long sequence, long highest)
    {
        byte[] at = [InVersions, .. new byte[24], .. key];
        BinaryPrimitives.WriteInt64LittleEndian(at.AsSpan(1), bucket);
        BinaryPrimitives.WriteInt64LittleEndian(at.AsSpan(9), sequence);
        BinaryPrimitives.WriteInt64LittleEndian(at.AsSpan(17), highest);
        return at;
    }

    private static long Bucket(byte[] at) => BinaryPrimitives.ReadInt64LittleEndian(at.AsSpan(1));

    private static long Sequence(byte[] at) => BinaryPrimitives.ReadInt64LittleEndian(at.AsSpan(9));

    private static long Highest(byte[] at) => BinaryPrimitives.ReadInt64LittleEndian(at.AsSpan(17));

    private delegate ImmutableArray<PartLayout> Decoder(ReadOnlySpan<byte> record);
}
