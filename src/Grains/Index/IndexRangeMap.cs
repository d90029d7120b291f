using System.Collections.Immutable;
using System.Text;
using ObjectStore.Metadata;

namespace ObjectStore.Grains;

/// <summary>
/// Which range of a bucket holds which key, as this silo last saw it; bounded, least recently used out. It may be stale at any time: the
/// range answers "moved" then, and the caller forgets the range it used and asks again. Thread-safe.
/// </summary>
public sealed class IndexRangeMap(IMetadataStore store, GrainOptions options)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<BucketId, LinkedListNode<Entry>> _entries = [];
    private readonly LinkedList<Entry> _byUse = new();

    /// <summary>The range of a key, or null when the bucket is gone.</summary>
    public ValueTask<IndexRange?> FindAsync(BucketId bucket, string key) => FindAsync(bucket, Encoding.UTF8.GetBytes(key));

    /// <summary>The range of a key in UTF-8, or null when the bucket is gone.</summary>
    public async ValueTask<IndexRange?> FindAsync(BucketId bucket, byte[] keyUtf8)
    {
        ImmutableArray<IndexRange> ranges = Cached(bucket);
        if (ranges.IsDefault)
        {
            // Not ConfigureAwait(false), and no task shared among callers: each continues on its own activation, so one that
            // is dropped halfway keeps nobody waiting.
            ranges = await store.ListRangesAsync(bucket);
            if (ranges.IsEmpty)
                return null;
            Keep(bucket, ranges);
        }

        return Find(ranges, keyUtf8);
    }

    /// <summary>Forgets a bucket's map if it still holds the range that turned out to be stale; a map read since then stays.</summary>
    public void Forget(BucketId bucket, IndexRange stale)
    {
        lock (_lock)
        {
            if (_entries.TryGetValue(bucket, out LinkedListNode<Entry>? node) && node.Value.Ranges.Any(range => ReferenceEquals(range, stale)))
            {
                _entries.Remove(bucket);
                _byUse.Remove(node);
            }
        }
    }

    private ImmutableArray<IndexRange> Cached(BucketId bucket)
    {
        lock (_lock)
        {
            if (!_entries.TryGetValue(bucket, out LinkedListNode<Entry>? node))
                return default;
            if (!ReferenceEquals(_byUse.First, node))
            {
                _byUse.Remove(node);
                _byUse.AddFirst(node);
            }

            return node.Value.Ranges;
        }
    }

    private void Keep(BucketId bucket, ImmutableArray<IndexRange> ranges)
    {
        lock (_lock)
        {
            if (_entries.Remove(bucket, out LinkedListNode<Entry>? old))
                _byUse.Remove(old);
            _entries.Add(bucket, _byUse.AddFirst(new Entry(bucket, ranges)));
            while (_entries.Count > options.MaxRangeMaps)
            {
                _entries.Remove(_byUse.Last!.Value.Bucket);
                _byUse.RemoveLast();
            }
        }
    }

    private static IndexRange Find(ImmutableArray<IndexRange> ranges, ReadOnlySpan<byte> keyUtf8)
    {
        // The last range whose start is not behind the key. Ranges are in order and cover all keys.
        int low = 0;
        int high = ranges.Length - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (keyUtf8.SequenceCompareTo(ranges[middle].Start) >= 0)
                low = middle;
            else
                high = middle - 1;
        }

        return ranges[low];
    }

    private sealed record Entry(BucketId Bucket, ImmutableArray<IndexRange> Ranges);
}
