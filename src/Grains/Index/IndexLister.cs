using System.Collections.Immutable;
using Orleans;

namespace ObjectStore.Grains;

/// <summary>Lists a bucket across its ranges. Thread-safe.</summary>
public sealed class IndexLister(IGrainFactory grains, IndexRangeMap ranges)
{
    // A page that needs more tries than this is in a range that moves faster than it can be found.
    private const int MaxMoves = 16;

    /// <summary>One page of the bucket, as <see cref="IBucketIndexGrain.ListAsync"/> gives one of a range; null when the bucket is gone.</summary>
    /// <exception cref="TimeoutException">The range kept moving.</exception>
    public async Task<ListPage?> ListAsync(BucketId bucket, ListQuery query)
    {
        ImmutableArray<ListEntry>.Builder entries = ImmutableArray.CreateBuilder<ListEntry>();
        ImmutableArray<byte[]>.Builder prefixes = ImmutableArray.CreateBuilder<byte[]>();
        byte[] last = [];
        bool lastIsPrefix = false;

        // Keys below both are not wanted, so the listing begins in the range of the greater. Where StartAfter is a rolled-up prefix, what follows
        // it may be ranges away; ranges in between give empty pages.
        byte[] cursor = query.Prefix.AsSpan().SequenceCompareTo(query.StartAfter) >= 0 ? query.Prefix : query.StartAfter;
        int moves = 0;
        while (true)
        {
            if (await ranges.FindAsync(bucket, cursor) is not { } range)
                return null;
            ListQuery rest = query with { MaxItems = query.MaxItems - entries.Count - prefixes.Count };
            if (last.Length > 0)
                rest = rest with { StartAfter = last, StartAfterIsPrefix = lastIsPrefix };
            ListPage page = await grains.GetGrain<IBucketIndexGrain>(GrainKeys.Range(bucket, range.RangeId)).ListAsync(rest);
            // The range ended before the cursor: its grain knows of a split that this silo's map does not, or the other way round.
            bool isElsewhere = page.RangeMoved || (page.RangeEnd is { } end && cursor.AsSpan().SequenceCompareTo(end) >= 0);
            if (isElsewhere || !SameEnd(page.RangeEnd, range.End))
                ranges.Forget(bucket, range);
            if (isElsewhere)
            {
                if (++moves > MaxMoves)
                    throw new TimeoutException($"Range {range.RangeId} of bucket {bucket} moved {moves} times while it was listed.");
                continue;
            }

            entries.AddRange(page.Entries);
            prefixes.AddRange(page.CommonPrefixes);
            if (page.Last.Length > 0)
                (last, lastIsPrefix) = (page.Last, page.LastIsPrefix);
            bool full = entries.Count + prefixes.Count >= query.MaxItems;
            bool isEnd = page.RangeEnd is null || IsBehindPrefix(page.RangeEnd, query.Prefix);
            if (page.IsTruncated || full || isEnd)
            {
                // A page that is full at a range's end says "truncated" without looking further: the next one may be empty, as S3 allows.
                return new ListPage(entries.ToImmutable(), prefixes.ToImmutable(), page.IsTruncated || !isEnd, last, lastIsPrefix, RangeMoved: false);
            }

            cursor = page.RangeEnd!;
        }
    }

    private static bool SameEnd(byte[]? a, byte[]? b) => a is null ? b is null : b is not null && a.AsSpan().SequenceEqual(b);

    private static bool IsBehindPrefix(ReadOnlySpan<byte> key, ReadOnlySpan<byte> prefix) =>
        !key.StartsWith(prefix) && key.SequenceCompareTo(prefix) > 0;
}
