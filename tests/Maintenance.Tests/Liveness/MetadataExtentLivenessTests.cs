using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using Verdict = ObjectStore.Maintenance.Liveness.Liveness;

namespace ObjectStore.Maintenance.Tests.Liveness;

public sealed class MetadataExtentLivenessTests
{
    private static readonly Scheme Copies3 = Scheme.Copies(3);

    [Fact]
    public async Task Check_TellsLiveUnnamedOrphanAndGarbageApart()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        TestExtent orphan = await cluster.WriteAsync(Copies3, commit: false), deleted = await cluster.WriteAsync(Copies3), live = await cluster.WriteAsync(Copies3);
        cluster.Time.Advance(TimeSpan.FromHours(73));
        TestExtent young = await cluster.WriteAsync(Copies3, commit: false);
        await cluster.DeleteAsync(deleted);
        ExtentDescriptor[] asked = [orphan.Descriptor, deleted.Descriptor, live.Descriptor, young.Descriptor];
        Assert.Equal([Verdict.Orphan, Verdict.Garbage, Verdict.Live, Verdict.Unnamed], await cluster.Liveness.CheckAsync(asked));

        // More than fit one snapshot, in the order asked.
        IReadOnlyList<Verdict> many = await cluster.Liveness.CheckAsync([.. Enumerable.Range(0, 1000).Select(i => asked[i % 4])]);
        Assert.Equal(1000, many.Count);
        Assert.All(Enumerable.Range(0, 1000), i => Assert.Equal(many[i % 4], many[i]));
    }

    [Fact]
    public async Task Condemn_OfAYoungExtent_IsRefused()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        FragmentDetails young = await DetailsAsync(cluster, await cluster.WriteAsync(Copies3, commit: false));
        await Assert.ThrowsAsync<ArgumentException>(() => cluster.Liveness.CondemnAsync([young]).AsTask());
        Assert.Equal(0, cluster.Metadata.GarbageCount);
    }

    [Fact]
    public async Task Condemn_OfFarTooMany_StopsUntilSomeoneHasLooked()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        FragmentDetails orphan = await DetailsAsync(cluster, await cluster.WriteAsync(Copies3, commit: false));
        FragmentDetails other = await DetailsAsync(cluster, await cluster.WriteAsync(Copies3, commit: false));
        cluster.Time.Advance(TimeSpan.FromHours(73));
        FragmentDetails[] many = [.. Enumerable.Repeat(orphan, MetadataExtentLiveness.FreeOrphans)];

        // To ask for the same ones again and again makes no more of them.
        for (int i = 0; i < 100; i++)
            await cluster.Liveness.CheckAsync([orphan.Descriptor]);
        Assert.All(await cluster.Liveness.CondemnAsync(many), Assert.True);
        Assert.False(cluster.Liveness.IsBraked);
        Assert.Equal([false], await cluster.Liveness.CondemnAsync([other]));
        Assert.True(cluster.Liveness.IsBraked);
        Assert.Equal(1, cluster.Metadata.GarbageCount);
        cluster.Liveness.ReleaseBrake();
        Assert.Equal([true], await cluster.Liveness.CondemnAsync([other]));
        Assert.Equal(2, cluster.Metadata.GarbageCount);
    }

    [Fact]
    public async Task Condemn_IsMeasuredAgainstWhatWasJudged()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 6);
        FragmentDetails orphan = await DetailsAsync(cluster, await cluster.WriteAsync(Copies3, commit: false));
        cluster.Time.Advance(TimeSpan.FromHours(73));
        cluster.Liveness.CountJudged(100);
        await cluster.Liveness.CondemnAsync([.. Enumerable.Repeat(orphan, MetadataExtentLiveness.FreeOrphans)]);
        for (int i = 0; i < 10; i++)
            Assert.Equal([true], await cluster.Liveness.CondemnAsync([orphan]));
        Assert.Equal([false], await cluster.Liveness.CondemnAsync([orphan]));
    }

    private static async Task<FragmentDetails> DetailsAsync(TestCluster cluster, TestExtent extent)
        => (await cluster.Store(cluster.DriveOf(extent, 0)).StatAsync(new FragmentKey(extent.Id, 0, 0)))!;
}
