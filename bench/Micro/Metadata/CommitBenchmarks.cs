using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Metadata.Sqlite;

namespace ObjectStore.Benchmarks.Metadata;

/// <summary>Commits of one new version each through the group committer, each synced; keys rise, as those of a backup do.</summary>
public abstract class CommitBenchmark(int callers) : Benchmark
{
    private ScratchFolder? _folder;
    private SqliteMetadataStore _store = null!;
    private BucketId _bucket;
    private RangeLease _lease = null!;
    private long _sequence;

    public override void Setup()
    {
        _folder = new ScratchFolder();
        _store = SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = _folder.Path }).GetAwaiter().GetResult();
        _bucket = _store.CreateBucketAsync("bench", "owner", "us-east-1", 0).AsTask().GetAwaiter().GetResult().Bucket.Id;
        long range = _store.ListRangesAsync(_bucket).AsTask().GetAwaiter().GetResult()[0].RangeId;
        _lease = _store.AcquireRangeAsync(_bucket, range).AsTask().GetAwaiter().GetResult()!;
    }

    public override void Run(long operations)
    {
        long left = operations;
        Task[] workers = [.. Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
        {
            while (Interlocked.Decrement(ref left) >= 0) await CommitAsync();
        }))];
        Task.WaitAll(workers);
    }

    public override void Cleanup()
    {
        _store.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _folder!.Dispose();
    }

    private async Task CommitAsync()
    {
        long n = Interlocked.Increment(ref _sequence);
        ObjectVersion version = new()
        {
            VersionId = new VersionId((ulong)n, 1),
            SizeBytes = 4096,
            Parts = [new PartLayout(1, 4096, 1, (ulong)n, 1, 0, 1 << 20, default, null)],
        };
        ObjectMutation mutation = new($"key-{n:D12}", VersionId.None, version, [], null);
        CommitResult result = (await _store.CommitAsync(new RangeCommit(_bucket, _lease.Range.RangeId, _lease.Epoch, [mutation], 0)))[0];
        if (result.Status != CommitStatus.Committed) throw new InvalidOperationException(result.Status.ToString());
    }
}

/// <summary>One caller: a transaction and a sync each.</summary>
public sealed class CommitAlone() : CommitBenchmark(1)
{
    public override string Name => "Metadata.Commit.1";
}

/// <summary>32 callers share transactions and syncs.</summary>
public sealed class CommitBy32() : CommitBenchmark(32)
{
    public override string Name => "Metadata.Commit.32";
}
