using System.Collections.Immutable;
using ObjectStore.Grains;
using static ObjectStore.Metadata.Tests.Build;

namespace ObjectStore.Metadata.Tests;

public abstract partial class MetadataStoreConformance
{
    private async Task PutAllAsync(IEnumerable<string> keys)
    {
        foreach (string[] some in keys.Chunk(500))
        {
            Assert.All(await CommitAllAsync([.. some.Select(key => Put(key, VersionId.None, Version()))]), result => Assert.Equal(CommitStatus.Committed, result.Status));
        }
    }

    private async Task<(string[] Keys, string[] Prefixes, ListPage Page)> ListAsync(ListQuery query, IndexRange? range = null)
    {
        ListPage page = await Store.ListAsync(Bucket, range ?? Lease.Range, query);
        Assert.False(page.RangeMoved);
        return ([.. page.Entries.Select(entry => Text(entry.Key))], [.. page.CommonPrefixes.Select(Text)], page);
    }

    [Fact]
    public async Task List_OfNothing_IsEmpty()
    {
        (string[] keys, string[] prefixes, ListPage page) = await ListAsync(Query(delimiter: "/"));
        Assert.Empty(keys);
        Assert.Empty(prefixes);
        Assert.Empty(page.Last);
        Assert.False(page.IsTruncated || page.LastIsPrefix);
    }

    [Fact]
    public async Task List_GoesByBytesNotByUtf16()
    {
        await PutAllAsync(["\U0001F600", "\uffff", "\ue000", "z", "Z", "é", "a\u0001", "a", "a\0"]);
        Assert.Equal(["Z", "a", "a\0", "a\u0001", "z", "é", "\ue000", "\uffff", "\U0001F600"], (await ListAsync(Query())).Keys);
        Assert.Equal(["\U0001F600"], (await ListAsync(Query(startAfter: "\uffff"))).Keys);
    }

    [Fact]
    public async Task List_SaysTruncatedOnlyWhenMoreFollow()
    {
        await PutAllAsync(["a", "b", "c"]);
        (string[] keys, _, ListPage page) = await ListAsync(Query(maxItems: 2));
        Assert.Equal(["a", "b"], keys);
        Assert.True(page.IsTruncated);
        Assert.Equal("b", Text(page.Last));
        Assert.False((await ListAsync(Query(maxItems: 3))).Page.IsTruncated);
        Assert.False((await ListAsync(Query(prefix: "a", maxItems: 1))).Page.IsTruncated);
    }

    [Fact]
    public async Task List_RollsUpByDelimiterAndLeapsOverEachGroup()
    {
        await PutAllAsync(["a/1", "b", "d"]);
        await PutAllAsync(Enumerable.Range(0, 100).Select(i => $"c/{i:000}"));
        (string[] keys, string[] prefixes, ListPage page) = await ListAsync(Query(delimiter: "/"));
        Assert.Equal(["b", "d"], keys);
        Assert.Equal(["a/", "c/"], prefixes);
        Assert.Equal(("d", false, false), (Text(page.Last), page.LastIsPrefix, page.IsTruncated));
        (_, prefixes, page) = await ListAsync(Query(delimiter: "/", maxItems: 3));
        Assert.Equal(["a/", "c/"], prefixes);
        Assert.Equal(("c/", true, true), (Text(page.Last), page.LastIsPrefix, page.IsTruncated));
        Assert.Equal(["d"], (await ListAsync(Query(delimiter: "/", startAfter: "c/", startAfterIsPrefix: true))).Keys);
    }

    [Fact]
    public async Task List_WhenTheLastGroupEndsTheBucket_IsNotTruncated()
    {
        await PutAllAsync(Enumerable.Range(0, 30).Select(i => $"c/{i:000}"));
        ListPage page = (await ListAsync(Query(delimiter: "/", maxItems: 1))).Page;
        Assert.False(page.IsTruncated);
        Assert.True(page.LastIsPrefix);
    }

    [Fact]
    public async Task List_StartingInsideAGroup_StillShowsItsPrefix()
    {
        await PutAllAsync(["a/1", "a/2", "b"]);
        Assert.Equal(["a/"], (await ListAsync(Query(delimiter: "/", startAfter: "a/1"))).Prefixes);
        Assert.Equal(["a/"], (await ListAsync(Query(delimiter: "/", startAfter: "a/"))).Prefixes);
        Assert.Empty((await ListAsync(Query(delimiter: "/", startAfter: "a/2"))).Prefixes);
        Assert.Empty((await ListAsync(Query(delimiter: "/", startAfter: "a/", startAfterIsPrefix: true))).Prefixes);
    }

    [Fact]
    public async Task List_OfOneRange_ShowsItsPartOfAGroup()
    {
        await PutAllAsync(["a/1", "a/5", "b"]);
        IndexRange right = new(2, Utf8("a/3"), null);
        Assert.Equal(["a/"], (await ListAsync(Query(delimiter: "/"), right)).Prefixes);
        Assert.Equal(["b"], (await ListAsync(Query(delimiter: "/", startAfter: "a/", startAfterIsPrefix: true), right)).Keys);
        Assert.Equal(["a/5", "b"], (await ListAsync(Query(), right)).Keys);
        Assert.Equal(["a/1"], (await ListAsync(Query(), new IndexRange(1, [], Utf8("a/3")))).Keys);
        Assert.Empty((await ListAsync(Query(prefix: "b"), new IndexRange(1, [], Utf8("a/3")))).Keys);
    }

    [Fact]
    public async Task List_OfOneBucket_NeverShowsAnothers()
    {
        await PutAllAsync(["k"]);
        BucketId other = (await Store.CreateBucketAsync("other", "o", "r", 1)).Bucket.Id;
        Assert.Empty((await Store.ListAsync(other, Lease.Range, Query())).Entries);
        Assert.Single((await Store.ListAsync(Bucket, Lease.Range, Query())).Entries);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task List_AgreesWithANaiveModel(int seed)
    {
        TestContext.Current.SendDiagnosticMessage($"seed {seed}");
        var random = new Random(seed);
        string[] alphabet = ["a", "b", "/", "//", "-", "\0", "é", "\uffff", "\ue000", "\U0001F600", "\U0010FFFF", "z"];
        string Word(int longest) => string.Concat(Enumerable.Range(0, random.Next(1, longest + 1)).Select(_ => alphabet[random.Next(alphabet.Length)]));
        var keys = new HashSet<string>();
        while (keys.Count < 400)
        {
            keys.Add(Word(7));
        }

        await PutAllAsync(keys);
        byte[][] sorted = [.. keys.Select(Utf8).Order(Comparer<byte[]>.Create((x, y) => x.AsSpan().SequenceCompareTo(y)))];
        for (int round = 0; round < 400; round++)
        {
            byte[] prefix = random.Next(2) == 0 ? [] : Utf8(Word(2));
            byte[] delimiter = random.Next(3) switch { 0 => [], 1 => Utf8("/"), _ => Utf8(Word(2)) };
            byte[] start = random.Next(3) == 0 ? sorted[random.Next(200)] : [];
            byte[]? end = random.Next(3) == 0 ? sorted[random.Next(200, 400)] : null;
            IndexRange range = new(1, start, end);
            byte[] startAfter = random.Next(2) == 0 ? [] : Utf8(Word(3));
            var query = new ListQuery(prefix, delimiter, startAfter, false, random.Next(1, 20));
            List<(string Item, bool IsPrefix)> expected = NaiveList(sorted, range, query);
            List<(string Item, bool IsPrefix)> actual = await AllPagesAsync(range, query);
            Assert.True(expected.SequenceEqual(actual), $"seed {seed}, round {round}: {query}\n{string.Join(',', expected)}\n{string.Join(',', actual)}");
        }
    }

    private async Task<List<(string Item, bool IsPrefix)>> AllPagesAsync(IndexRange range, ListQuery query)
    {
        var items = new List<(string, bool)>();
        while (true)
        {
            ListPage page = await Store.ListAsync(Bucket, range, query);
            var merged = page.Entries.Select(entry => (entry.Key, IsPrefix: false)).Concat(page.CommonPrefixes.Select(prefix => (Key: prefix, IsPrefix: true)))
                .OrderBy(item => item.Key, Comparer<byte[]>.Create((x, y) => x.AsSpan().SequenceCompareTo(y))).ToList();
            Assert.True(merged.Count <= query.MaxItems);
            items.AddRange(merged.Select(item => (Convert.ToHexString(item.Key), item.IsPrefix)));
            if (merged.Count > 0)
            {
                Assert.Equal(merged[^1].Key, page.Last);
                Assert.Equal(merged[^1].IsPrefix, page.LastIsPrefix);
            }

            if (!page.IsTruncated)
            {
                return items;
            }

            Assert.Equal(query.MaxItems, merged.Count);
            query = query with { StartAfter = page.Last, StartAfterIsPrefix = page.LastIsPrefix };
        }
    }

    private static List<(string Item, bool IsPrefix)> NaiveList(byte[][] sorted, IndexRange range, ListQuery query)
    {
        var items = new List<(string, bool)>();
        foreach (byte[] key in sorted)
        {
            if (!range.Contains(key) || !key.AsSpan().StartsWith(query.Prefix) || key.AsSpan().SequenceCompareTo(query.StartAfter) <= 0)
            {
                continue;
            }

            int at = query.Delimiter.Length == 0 ? -1 : key.AsSpan(query.Prefix.Length).IndexOf(query.Delimiter);
            (string Item, bool IsPrefix) item = at < 0
                ? (Convert.ToHexString(key), false)
                : (Convert.ToHexString(key.AsSpan(0, query.Prefix.Length + at + query.Delimiter.Length)), true);
            if (!item.IsPrefix || !items.Contains(item))
            {
                items.Add(item);
            }
        }

        return items;
    }

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    public async Task Garbage_AfterRandomWrites_HoldsEveryExtentThatNoRowNames(int seed)
    {
        TestContext.Current.SendDiagnosticMessage($"seed {seed}");
        var random = new Random(seed);
        var inserted = new HashSet<(ulong, ulong)>();
        var versions = new List<(string Key, VersionId Id)>();
        var uploads = new List<UploadInfo>();
        PartLayout Track(PartLayout part)
        {
            inserted.Add((part.ExtentHigh, part.ExtentLow));
            return part;
        }

        for (int step = 0; step < 400; step++)
        {
            string key = $"k{random.Next(8)}";
            VersionId newest = (await Store.ReadNewestAsync(Bucket, key))?.VersionId ?? VersionId.None;
            VersionId[] remove = [.. versions.Where(version => version.Key == key && random.Next(3) == 0).Select(version => version.Id)];
            switch (random.Next(6))
            {
                case 0:
                    await CommitAsync(Delete(key, newest, remove));
                    break;
                case 1:
                    uploads.Add(Upload(Bucket, key));
                    await Store.CreateUploadAsync(uploads[^1]);
                    break;
                case 2 when uploads.Count > 0:
                    UploadInfo upload = uploads[random.Next(uploads.Count)];
                    PartLayout part = Extent(random.Next(1, 4));
                    if (await Store.PutPartAsync(upload.UploadId, new UploadPart(part, 1), NotBefore))
                    {
                        Track(part);
                    }

                    break;
                case 3 when uploads.Count > 0 && random.Next(3) == 0:
                    await Store.AbortUploadAsync(uploads[random.Next(uploads.Count)].UploadId, NotBefore);
                    break;
                case 4 when uploads.Count > 0:
                    UploadInfo ended = uploads[random.Next(uploads.Count)];
                    VersionId newestOfIt = (await Store.ReadNewestAsync(Bucket, ended.Key))?.VersionId ?? VersionId.None;
                    PartLayout[] some = [.. (await Store.ListPartsAsync(ended.UploadId, 0, 10)).Where(_ => random.Next(2) == 0).Select(uploaded => uploaded.Layout)];
                    await CommitAsync(Put(ended.Key, newestOfIt, Version(some) with { VersionId = ended.UploadId }) with { CompletesUpload = ended.UploadId });
                    versions.Add((ended.Key, ended.UploadId));
                    break;
                default:
                    ObjectVersion version = Version(Extent(1), Extent(2));
                    if (Assert.Single(await CommitAllAsync(Put(key, random.Next(10) == 0 ? Id() : newest, version, remove))).Status == CommitStatus.Committed)
                    {
                        version.Parts.ToList().ForEach(stored => Track(stored));
                        versions.Add((key, version.VersionId));
                    }

                    break;
            }
        }

        List<(ulong High, ulong Low)> named = await GarbageAsync();
        foreach ((string key, VersionId id) in versions.Distinct())
        {
            named.AddRange(ExtentIds((await Store.ReadVersionAsync(Bucket, key, id))?.Parts ?? []));
        }

        foreach (UploadInfo upload in uploads)
        {
            named.AddRange(ExtentIds((await Store.ListPartsAsync(upload.UploadId, 0, 100)).Select(part => part.Layout)));
        }

        Assert.Equal(inserted.Order(), named.Order());
    }
}
