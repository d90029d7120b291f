namespace ObjectStore.Grains.Tests;

public sealed class ActivationBudgetTests
{
    [Fact]
    public async Task ManyKeysWrittenOnce_LeaveNoMoreActivationsThanTheBudget()
    {
        const int budget = 100;
        await using GrainCluster cluster = await GrainCluster.StartAsync(new GrainOptions { ObjectActivationBudget = budget });
        BucketId bucket = (await cluster.Grains.GetGrain<IBucketGrain>("bucket").CreateAsync(new CreateBucketCommand("owner", "us-east-1"))).Bucket.Id;
        const int workers = 16;
        await Task.WhenAll(Enumerable.Range(0, workers).Select(async worker =>
        {
            for (int i = 0; i < 200; i++)
                Assert.Equal(PutStatus.Committed, (await cluster.Object(bucket, $"{worker}/{i}").PutAsync(Make.Put())).Status);
        }));

        // Those above the budget are deactivated after their answer: wait for it, within a bound.
        using CancellationTokenSource timeout = new(TimeSpan.FromSeconds(30));
        while (cluster.LiveObjects > budget)
        {
            timeout.Token.ThrowIfCancellationRequested();
            await Task.Yield();
        }

        Assert.NotNull(await cluster.Object(bucket, "0/0").ReadAsync(null));
        Assert.NotNull(await cluster.Object(bucket, "15/199").ReadAsync(null));
    }
}
