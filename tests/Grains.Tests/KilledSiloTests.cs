#if GRAIN_RUNTIME_ORLEANS
using System.Collections.Concurrent;

namespace ObjectStore.Grains.Tests;

public sealed class KilledSiloTests(ITestOutputHelper output)
{
    [Fact]
    public async Task KillingASiloUnderLoad_LosesNoAcknowledgedWrite()
    {
        await using GrainCluster cluster = await GrainCluster.StartAsync(silos: 2);
        BucketId bucket = (await cluster.Grains.GetGrain<IBucketGrain>("bucket").CreateAsync(new CreateBucketCommand("owner", "us-east-1"))).Bucket.Id;
        cluster.Store.CommitLatency = TimeSpan.FromMilliseconds(2);
        ConcurrentDictionary<string, VersionId> acknowledged = [];
        int failures = 0;
        int afterKill = 0;
        bool isKilled = false;
        using CancellationTokenSource timeout = new(TimeSpan.FromMinutes(2));
        Task load = Task.WhenAll(Enumerable.Range(0, 16).Select(async worker =>
        {
            for (int i = 0; Volatile.Read(ref afterKill) < 500; i++)
            {
                timeout.Token.ThrowIfCancellationRequested();
                string key = $"{worker}/{i}";
                PutCommand put = Make.Put();
                try
                {
                    if ((await cluster.Object(bucket, key).PutAsync(put)).Status != PutStatus.Committed)
                        continue;
                    acknowledged[key] = put.Version.VersionId;
                    if (Volatile.Read(ref isKilled))
                        Interlocked.Increment(ref afterKill);
                }
                catch (Exception exception) when (exception is not OperationCanceledException)
                {
                    Interlocked.Increment(ref failures);
                }
            }
        }));
        while (acknowledged.Count < 500)
        {
            timeout.Token.ThrowIfCancellationRequested();
            await Task.Yield();
        }

        await cluster.KillSiloAsync();
        Volatile.Write(ref isKilled, true);
        await load;

        output.WriteLine($"{acknowledged.Count} acknowledged, {afterKill} after the kill, {failures} failed");
        foreach ((string key, VersionId version) in acknowledged)
        {
            Assert.Equal(version, (await cluster.Object(bucket, key).ReadAsync(null))?.VersionId);
            Assert.Equal(1, cluster.Store.CountInserts(version));
        }
    }
}
#endif
