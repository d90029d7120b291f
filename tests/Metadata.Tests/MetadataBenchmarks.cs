using System.Diagnostics;
using ObjectStore.Grains;
using ObjectStore.Metadata.Sqlite;
using static ObjectStore.Metadata.Tests.Build;

namespace ObjectStore.Metadata.Tests;

/// <summary>Figures, not facts: run a Release build with <c>-explicit only</c>.</summary>
public sealed class MetadataBenchmarks(ITestOutputHelper output)
{
    private static readonly int PageSize = int.Parse(Environment.GetEnvironmentVariable("BENCH_PAGE_SIZE") ?? "4096");
    private static readonly long MapBytes = long.Parse(Environment.GetEnvironmentVariable("BENCH_MMAP") ?? "0");

    private static Task<TemporaryMetadataStore> OpenAsync() =>
        TemporaryMetadataStore.OpenAsync(directory => new SqliteMetadataOptions { Directory = directory, PageSizeBytes = PageSize, MemoryMapBytes = MapBytes });

    [Theory(Explicit = true)]
    [InlineData(1, 5_000, false)]
    [InlineData(32, 150_000, false)]
    [InlineData(32, 150_000, true)]
    [InlineData(128, 150_000, true)]
    public async Task Commits(int callers, int total, bool randomKeys)
    {
        await using TemporaryMetadataStore temporary = await OpenAsync();
        SqliteMetadataStore store = temporary.Store;
        BucketId bucket = (await store.CreateBucketAsync("b", "o", "r", 1)).Bucket.Id;
        long epoch = (await store.AcquireRangeAsync(bucket, 1))!.Epoch;
        int next = 0;
        for (int pass = 0; pass < 2; pass++)
        {
            int end = next + total / 2;
            long began = Stopwatch.GetTimestamp();
            TimeSpan cpu = Process.GetCurrentProcess().TotalProcessorTime;
            await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
            {
                for (int i = Interlocked.Increment(ref next); i <= end; i = Interlocked.Increment(ref next))
                {
                    string key = randomKeys ? $"photos/{(uint)(i * 2654435761L):x8}/{i}" : $"photos/2024/{i:00000000}.jpg";
                    var result = await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Put(key, VersionId.None, Version(Extent()))], 1));
                    Trace.Assert(result[0].Status == CommitStatus.Committed);
                }
            })));
            TimeSpan took = Stopwatch.GetElapsedTime(began);
            next = end;
            output.WriteLine($"commits callers={callers} random={randomKeys}: {total / 2 / took.TotalSeconds:n0}/s, {took.TotalMicroseconds / (total / 2):n1} us each, cpu {(Process.GetCurrentProcess().TotalProcessorTime - cpu) / took:n2} cores");
        }
    }

    /// <summary>Every commit replaces a version, so each writes a row of garbage, with random extent ids.</summary>
    [Theory(Explicit = true)]
    [InlineData(32, 200_000)]
    public async Task Replacements(int callers, int total)
    {
        await using TemporaryMetadataStore temporary = await OpenAsync();
        SqliteMetadataStore store = temporary.Store;
        BucketId bucket = (await store.CreateBucketAsync("b", "o", "r", 1)).Bucket.Id;
        long epoch = (await store.AcquireRangeAsync(bucket, 1))!.Epoch;
        long began = Stopwatch.GetTimestamp();
        await Task.WhenAll(Enumerable.Range(0, callers).Select(caller => Task.Run(async () =>
        {
            var newest = new VersionId[100];
            var random = new Random(caller);
            for (int i = 0; i < total / callers; i++)
            {
                int key = i % newest.Length;
                ObjectVersion version = Version(Extent() with { ExtentHigh = (ulong)random.NextInt64(), ExtentLow = (ulong)random.NextInt64() });
                var result = await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Put($"{caller}/{key}", newest[key], version, newest[key].IsNone ? [] : [newest[key]])], 1));
                Trace.Assert(result[0].Status == CommitStatus.Committed);
                newest[key] = version.VersionId;
            }
        })));
        output.WriteLine($"replacements callers={callers}: {total / Stopwatch.GetElapsedTime(began).TotalSeconds:n0}/s");
    }

    [Fact(Explicit = true)]
    public async Task Reads()
    {
        await using TemporaryMetadataStore temporary = await OpenAsync();
        SqliteMetadataStore store = temporary.Store;
        BucketId bucket = (await store.CreateBucketAsync("b", "o", "r", 1)).Bucket.Id;
        long epoch = (await store.AcquireRangeAsync(bucket, 1))!.Epoch;
        const int count = 300_000;
        for (int i = 0; i < count; i += 1000)
        {
            await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [.. Enumerable.Range(i, 1000).Select(k => Put($"photos/{k % 300:000}/{k:00000000}.jpg", VersionId.None, Version(Extent())))], 1));
        }

        IndexRange range = (await store.ListRangesAsync(bucket))[0];
        var random = new Random(1);
        string[] keys = [.. Enumerable.Range(0, 100_000).Select(_ => random.Next(count)).Select(k => $"photos/{k % 300:000}/{k:00000000}.jpg")];
        for (int pass = 0; pass < 3; pass++)
        {
            long began = Stopwatch.GetTimestamp();
            foreach (string key in keys)
            {
                Trace.Assert(await store.ReadNewestAsync(bucket, key) is not null);
            }

            output.WriteLine($"read newest: {Stopwatch.GetElapsedTime(began).TotalMicroseconds / keys.Length:n2} us");
            began = Stopwatch.GetTimestamp();
            int listed = 0;
            ListQuery query = Query();
            while (true)
            {
                ListPage page = await store.ListAsync(bucket, range, query);
                listed += page.Entries.Length;
                if (!page.IsTruncated)
                {
                    break;
                }

                query = query with { StartAfter = page.Last };
            }

            output.WriteLine($"list: {listed / Stopwatch.GetElapsedTime(began).TotalSeconds:n0} keys/s");
            began = Stopwatch.GetTimestamp();
            ListPage groups = await store.ListAsync(bucket, range, Query(prefix: "photos/", delimiter: "/"));
            output.WriteLine($"delimiter: {groups.CommonPrefixes.Length} prefixes in {Stopwatch.GetElapsedTime(began).TotalMicroseconds:n0} us");
        }

        using var stop = new CancellationTokenSource();
        Task writer = Task.Run(async () =>
        {
            for (int i = 0; !stop.IsCancellationRequested; i++)
            {
                await store.CommitAsync(new RangeCommit(bucket, 1, epoch, [Put($"w/{i}", VersionId.None, Version(Extent()))], 1));
            }
        });
        long start = Stopwatch.GetTimestamp();
        foreach (string key in keys)
        {
            await store.ReadNewestAsync(bucket, key);
        }

        output.WriteLine($"read newest beside one committing caller: {Stopwatch.GetElapsedTime(start).TotalMicroseconds / keys.Length:n2} us");
        await stop.CancelAsync();
        await writer;
    }
}
