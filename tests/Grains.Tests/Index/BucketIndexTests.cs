using System.Collections.Concurrent;
using System.Text;
using ObjectStore.Metadata;
using ObjectStore.Testing;

namespace ObjectStore.Grains.Tests;

public sealed class BucketIndexTests(SharedCluster shared, ITestOutputHelper output) : GrainTest(shared)
{
    [Fact]
    public async Task Commits_ThatComeTogether_ShareTransactions()
    {
        Store.CommitLatency = TimeSpan.FromMilliseconds(20);
        ConcurrentBag<int> batches = [];
        Store.OnCall = call =>
        {
            if (call.Argument is RangeCommit commit)
                batches.Add(commit.Mutations.Length);
            return null;
        };
        await Task.WhenAll(Enumerable.Range(0, 300).Select(i => this[$"{i}"].PutAsync(Make.Put())));

        output.WriteLine($"{batches.Count} transactions");
        Assert.Equal(300, batches.Sum());
        Assert.InRange(batches.Count, 1, 100);
    }

    [Fact]
    public async Task Commit_OfAKeyOutsideTheRange_IsMoved()
    {
        Assert.True((await Cluster.Range(Bucket, 1).SplitAsync("m"u8.ToArray())).Split);

        CommitResult result = await Cluster.Range(Bucket, 1).CommitAsync(new ObjectMutation("z", VersionId.None, Make.Version(), [], null));
        Assert.Equal(CommitStatus.RangeMoved, result.Status);
    }

    [Fact]
    public async Task Commit_ToARangeThatIsNot_IsMoved()
    {
        CommitResult result = await Cluster.Range(Bucket, 77).CommitAsync(new ObjectMutation("z", VersionId.None, Make.Version(), [], null));
        Assert.Equal(CommitStatus.RangeMoved, result.Status);
        Assert.True((await Cluster.Range(Bucket, 77).ListAsync(Make.List())).RangeMoved);
    }

    [Fact]
    public async Task Commit_OfAMutationThatIsUnderWay_JoinsIt()
    {
        TaskCompletionSource gate = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int commits = 0;
        Store.OnCall = call =>
        {
            if (call.Method != "Commit")
                return null;
            Interlocked.Increment(ref commits);
            reached.TrySetResult();
            return new StoreFault { Before = gate.Task };
        };
        ObjectMutation mutation = new("a", VersionId.None, Make.Version(), [], null);
        Task<CommitResult> first = Cluster.Range(Bucket, 1).CommitAsync(mutation);
        await reached.Task;
        Task<CommitResult> second = Cluster.Range(Bucket, 1).CommitAsync(mutation);
        Assert.NotNull(await Cluster.Range(Bucket, 1).ListAsync(Make.List())); // Answered after the second has come in.
        gate.SetResult();

        Assert.Equal(CommitStatus.Committed, (await first).Status);
        Assert.True((await second).Status is CommitStatus.Committed or CommitStatus.AlreadyApplied);
        Assert.InRange(commits, 1, 2);
        Assert.Equal(1, Store.CountInserts(mutation.Insert!.VersionId));
    }

    [Fact]
    public async Task Commit_OfAMutationTheStoreRefuses_FailsAloneInItsBatch()
    {
        TaskCompletionSource gate = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int commits = 0;
        Store.OnCall = call => call.Method == "Commit" && Interlocked.Increment(ref commits) <= 2 ? new StoreFault { Before = gate.Task } : null;
        Task<PutResult>[] good = [.. Enumerable.Range(0, 20).Select(i => this[$"key-{i}"].PutAsync(Make.Put()))];
        Task<PutResult> bad = this[new string('k', 1025)].PutAsync(Make.Put());
        gate.SetResult();

        Assert.All(await Task.WhenAll(good), result => Assert.Equal(PutStatus.Committed, result.Status));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => bad);
    }

    [Fact]
    public async Task Put_WhenTheRangeWasTakenOver_IsCommittedOnce()
    {
        await this["a"].PutAsync(Make.Put("1"));
        Store.Acquire(Bucket, 1);
        PutCommand put = Make.Put("2");

        Assert.Equal(PutStatus.Committed, (await this["a"].PutAsync(put)).Status);
        Assert.Equal(1, Store.CountInserts(put.Version.VersionId));
    }

    [Fact]
    public async Task Puts_WhileTheRangeIsTakenOverAgainAndAgain_AreNeitherLostNorDoubled()
    {
        Store.CommitLatency = TimeSpan.FromMilliseconds(1);
        int commits = 0;
        Store.OnCall = call => call.Method == "Commit" && Interlocked.Increment(ref commits) % 7 == 0 ? new StoreFault { Meanwhile = () => Store.Acquire(Bucket, 1) } : null;
        PutCommand[] puts = [.. Enumerable.Range(0, 400).Select(_ => Make.Put())];
        await Parallel.ForAsync(0, puts.Length, new ParallelOptions { MaxDegreeOfParallelism = 32 }, async (i, _) =>
            Assert.Equal(PutStatus.Committed, (await this[$"key-{i}"].PutAsync(puts[i])).Status));

        Assert.All(puts, put => Assert.Equal(1, Store.CountInserts(put.Version.VersionId)));
        Assert.Equal(400, (await ListAllAsync(1_000)).Count);
    }

    [Fact]
    public async Task Split_UnderLoad_LosesAndDoublesNothing()
    {
        Store.CommitLatency = TimeSpan.FromMilliseconds(1);
        PutCommand[] puts = [.. Enumerable.Range(0, 600).Select(_ => Make.Put())];
        int written = 0;
        Task splitter = Task.Run(async () =>
        {
            int splits = 0;
            foreach (string at in (string[])["key-3", "key-15", "key-45", "key-30"])
            {
                while (Volatile.Read(ref written) < 100 * (splits + 1))
                    await Task.Yield();
                IndexRange range = (await Cluster.Service<IndexRangeMap>().FindAsync(Bucket, at))!;
                SplitResult result = await Cluster.Range(Bucket, range.RangeId).SplitAsync(Encoding.UTF8.GetBytes(at));
                if (!result.Split)
                {
                    // The map was stale: the key is in a range of an earlier split.
                    Cluster.Service<IndexRangeMap>().Forget(Bucket, range);
                    range = (await Cluster.Service<IndexRangeMap>().FindAsync(Bucket, at))!;
                    result = await Cluster.Range(Bucket, range.RangeId).SplitAsync(Encoding.UTF8.GetBytes(at));
                }

                Assert.True(result.Split);
                splits++;
            }
        });
        await Parallel.ForAsync(0, puts.Length, new ParallelOptions { MaxDegreeOfParallelism = 32 }, async (i, _) =>
        {
            Assert.Equal(PutStatus.Committed, (await this[$"key-{i:000}"].PutAsync(puts[i])).Status);
            Interlocked.Increment(ref written);
        });
        await splitter.WaitAsync(TimeSpan.FromSeconds(60));

        Assert.Equal(5, (await Store.ListRangesAsync(Bucket)).Length);
        Assert.All(puts, put => Assert.Equal(1, Store.CountInserts(put.Version.VersionId)));
        Assert.Equal(Enumerable.Range(0, 600).Select(i => $"key-{i:000}"), await ListAllAsync(37));
    }

    [Fact]
    public async Task Split_AtTheRangesStartOrOutsideIt_ChangesNothing()
    {
        Assert.False((await Cluster.Range(Bucket, 1).SplitAsync([])).Split);
        SplitResult split = await Cluster.Range(Bucket, 1).SplitAsync("m"u8.ToArray());
        Assert.True(split.Split);
        Assert.False((await Cluster.Range(Bucket, 1).SplitAsync("z"u8.ToArray())).Split);
        Assert.False((await Cluster.Range(Bucket, split.NewRange!.RangeId).SplitAsync("m"u8.ToArray())).Split);
        Assert.Equal(2, (await Store.ListRangesAsync(Bucket)).Length);
    }

    [Fact]
    public async Task List_WithAMapFromBeforeASplit_MissesNothing()
    {
        foreach (string key in (string[])["a", "m", "z"])
            await this[key].PutAsync(Make.Put());
        Assert.Equal(["a", "m", "z"], await ListAllAsync(10));

        // Behind the lister's map: the range it knows to reach to the end now ends at m.
        Assert.True((await Cluster.Range(Bucket, 1).SplitAsync("m"u8.ToArray())).Split);
        Assert.Equal(["a", "m", "z"], await ListAllAsync(10));
        Assert.Equal(["a", "m", "z"], await ListAllAsync(1));
    }

    [Fact]
    public async Task List_WithADelimiterAcrossRanges_ReturnsEachPrefixOnce()
    {
        foreach (string key in (string[])["a", "p/1", "p/5", "p/9", "q/1", "z"])
            await this[key].PutAsync(Make.Put());
        SplitResult first = await Cluster.Range(Bucket, 1).SplitAsync("p/5"u8.ToArray());
        Assert.True((await Cluster.Range(Bucket, first.NewRange!.RangeId).SplitAsync("p/9"u8.ToArray())).Split);

        ListPage page = (await Cluster.Service<IndexLister>().ListAsync(Bucket, Make.List(delimiter: "/")))!;
        Assert.Equal(["a", "z"], page.Entries.Select(entry => Encoding.UTF8.GetString(entry.Key)));
        Assert.Equal(["p/", "q/"], page.CommonPrefixes.Select(Encoding.UTF8.GetString));
        Assert.False(page.IsTruncated);

        ListPage under = (await Cluster.Service<IndexLister>().ListAsync(Bucket, Make.List(prefix: "p/")))!;
        Assert.Equal(["p/1", "p/5", "p/9"], under.Entries.Select(entry => Encoding.UTF8.GetString(entry.Key)));
        Assert.False(under.IsTruncated);
    }

    [Fact]
    public async Task List_OfABucketThatIsGone_ReturnsNull() =>
        Assert.Null(await Cluster.Service<IndexLister>().ListAsync(new BucketId(999_999), Make.List()));

    private async Task<List<string>> ListAllAsync(int maxItems)
    {
        List<string> keys = [];
        ListQuery query = Make.List(maxItems);
        while (true)
        {
            ListPage page = (await Cluster.Service<IndexLister>().ListAsync(Bucket, query))!;
            Assert.InRange(page.Entries.Length, 0, maxItems);
            keys.AddRange(page.Entries.Select(entry => Encoding.UTF8.GetString(entry.Key)));
            if (!page.IsTruncated)
                return keys;
            query = query with { StartAfter = page.Last, StartAfterIsPrefix = page.LastIsPrefix };
        }
    }
}
