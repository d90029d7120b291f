using System.Collections.Immutable;
using System.Runtime.InteropServices;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// A page of a LIST: one seek and a walk forward over <c>object_entry</c>. With a delimiter, the walk leaps to the end of each common prefix, so that
/// a page costs what it shows and not what lies beneath.
/// </summary>
internal sealed class EntryLister(SqliteConnection connection)
{
    // A step costs a tenth of a seek: small groups are walked through, and only then leapt over.
    private const int StepsBeforeSeek = 8;

    private readonly SqliteStatement _entries = connection.Prepare(
        "SELECT object_key, size_bytes, etag, part_count, last_modified_unix_ms, storage_class, checksum FROM object_entry WHERE bucket_id = ?1 AND object_key >= ?2 AND object_key < ?3 ORDER BY object_key");

    private ListEntry[] _page = [];

    internal ListPage List(BucketId bucket, IndexRange range, ListQuery query)
    {
        byte[] from = ObjectKeys.Max(range.Start, query.Prefix);
        if (query.StartAfter.Length > 0)
        {
            from = ObjectKeys.Max(from, query.StartAfterIsPrefix ? ObjectKeys.PrefixSuccessor(query.StartAfter) : ObjectKeys.Successor(query.StartAfter));
        }

        byte[] to = ObjectKeys.Min(range.End ?? ObjectKeys.BeyondAll, ObjectKeys.PrefixSuccessor(query.Prefix));
        if (_page.Length < query.MaxItems)
        {
            _page = new ListEntry[query.MaxItems];
        }

        try
        {
            _entries.Bind(1, bucket.Value).Bind(2, from).Bind(3, to);
            return query.Delimiter.Length == 0 ? Walk(query.MaxItems) : Leap(query);
        }
        finally
        {
            _entries.Reset();
        }
    }

    private ListPage Walk(int maxItems)
    {
        ListEntry[] page = _page;
        int count = 0;
        bool truncated = false;
        while (_entries.Step())
        {
            if (count == maxItems)
            {
                truncated = true;
                break;
            }

            page[count++] = ReadEntry(_entries.Blob(0).ToArray());
        }

        return Page(count, [], truncated, count > 0 ? page[count - 1].Key : [], lastIsPrefix: false);
    }

    private ListPage Leap(ListQuery query)
    {
        int count = 0;
        bool truncated = false;
        byte[] last = [];
        byte[]? group = null;
        int stepsInGroup = 0;
        ImmutableArray<byte[]>.Builder? groups = null;
        while (_entries.Step())
        {
            ReadOnlySpan<byte> key = _entries.Blob(0);
            if (group is not null && key.StartsWith(group))
            {
                if (++stepsInGroup == StepsBeforeSeek)
                {
                    _entries.Reset();
                    _entries.Bind(2, ObjectKeys.PrefixSuccessor(group));
                }

                continue;
            }

            if (count + (groups?.Count ?? 0) == query.MaxItems)
            {
                truncated = true;
                break;
            }

            int at = key[query.Prefix.Length..].IndexOf(query.Delimiter);
            if (at < 0)
            {
                group = null;
                last = key.ToArray();
                _page[count++] = ReadEntry(last);
            }
            else
            {
                group = key[..(query.Prefix.Length + at + query.Delimiter.Length)].ToArray();
                stepsInGroup = 0;
                last = group;
                (groups ??= ImmutableArray.CreateBuilder<byte[]>()).Add(group);
            }
        }

        return Page(count, groups?.DrainToImmutable() ?? [], truncated, last, lastIsPrefix: group is not null);
    }

    private ListEntry ReadEntry(byte[] key)
    {
        SqliteStatement row = _entries;
        ReadOnlySpan<byte> md5 = row.Blob(2);
        if (md5.Length != 16)
        {
            throw new MetadataRecordException("An ETag in the database is not 16 bytes long.");
        }

        (string? algorithm, bool isComposite) = RecordNames.ChecksumName(row.Int64(6));
        return new ListEntry(key, row.Int64(1), ETag.FromMd5(md5, (int)row.Int64(3)), row.Int64(4), RecordNames.StorageClassName(row.Int64(5)), algorithm, isComposite);
    }

    private ListPage Page(int count, ImmutableArray<byte[]> groups, bool truncated, byte[] last, bool lastIsPrefix)
    {
        ListEntry[] entries = _page.AsSpan(0, count).ToArray();
        Array.Clear(_page, 0, count);
        return new ListPage(ImmutableCollectionsMarshal.AsImmutableArray(entries), groups, truncated, last, lastIsPrefix, RangeMoved: false);
    }
}
