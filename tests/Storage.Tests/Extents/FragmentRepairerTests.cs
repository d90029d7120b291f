using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class FragmentRepairerTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1, 2)]
    [InlineData(2, 1)]
    [InlineData(6, 3)]
    public async Task LostDrives_AreRebuiltFromOneReadOfKFragments(int k, int m)
    {
        var scheme = new Scheme(k, m);
        await using var cluster = new MemoryCluster(scheme.Width, options: MemoryCluster.Settings(scheme, scheme), groups: 1);
        byte[] bytes = cluster.Bytes((2 * cluster.Store.BlockSizeOf(scheme)) + 1000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        Dictionary<FragmentKey, byte[]> before = await Payloads(cluster, layout);
        for (ulong lost = 1; lost < 1UL << scheme.Width; lost++)
        {
            var shards = new ShardSet(lost);
            if (shards.Count > m)
                continue;
            foreach (int shard in shards)
                cluster.DriveOf(layout.PlacementGroup, shard).Clear();
            for (int block = 0; block < layout.BlockCount; block++)
            {
                BlockRepairResult result = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, scheme, block, default, ShardSet.All(scheme.Width)), Stop);
                int shardBytes = before[new FragmentKey(layout.Id, block, 0)].Length;
                Assert.Equal((BlockRepairStatus.Whole, shards, (long)k * shardBytes, (long)shards.Count * shardBytes), (result.Status, result.Rebuilt, result.BytesRead, result.BytesWritten));
                Assert.Equal("a/key"u8.ToArray(), result.Details!.Descriptor.KeyUtf8.ToArray());
            }

            Dictionary<FragmentKey, byte[]> after = await Payloads(cluster, layout);
            Assert.Equal(before.Count, after.Count);
            Assert.All(before, item => Assert.True(item.Value.AsSpan().SequenceEqual(after[item.Key])));
        }

        BlockRepairResult whole = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, scheme, 0, default, ShardSet.All(scheme.Width)), Stop);
        Assert.Equal((BlockRepairStatus.Whole, 0, 0L), (whole.Status, whole.Rebuilt.Count, whole.BytesRead));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task SuspectFragment_IsReplaced_AndNeitherReadNorBelieved()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        byte[] bytes = cluster.Bytes(300_000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        var scheme = new Scheme(6, 3);
        cluster.DriveOf(layout.PlacementGroup, 2).Corrupt(new FragmentKey(layout.Id, 0, 2), 100);
        BlockRepairResult ignorant = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, scheme, 0, default, ShardSet.All(9)), Stop);
        Assert.Equal(0, ignorant.Rebuilt.Count);
        BlockRepairResult result = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, scheme, 0, new ShardSet(1 << 2), new ShardSet(1 << 2)), Stop);
        Assert.Equal((BlockRepairStatus.Whole, new ShardSet(1 << 2)), (result.Status, result.Rebuilt));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.Empty(cluster.Repairs.Reported);
    }

    [Fact]
    public async Task DamageInAFragmentThatIsRead_IsReported_AndAnotherTakesItsPlace()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(300_000), null, Stop);
        var scheme = new Scheme(6, 3);
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        cluster.DriveOf(layout.PlacementGroup, 1).Corrupt(new FragmentKey(layout.Id, 0, 1), 5);
        BlockRepairResult result = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, scheme, 0, default, new ShardSet(1)), Stop);
        Assert.Equal((BlockRepairStatus.Whole, new ShardSet(1)), (result.Status, result.Rebuilt));
        RepairNotice notice = Assert.Single(cluster.Repairs.Reported);
        Assert.Equal((new ShardSet(2), RepairReason.CorruptOnRead), (notice.Shards, notice.Reason));
    }

    [Fact]
    public async Task MovedSlot_IsCopiedFromItsSource()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(300_000), null, Stop);
        MemoryFragmentStore target = cluster.NewDrive(50);
        cluster.Drives.Add(target);
        cluster.Directory.Set(target);
        cluster.Change((_, number, slot) => number == 4 ? new GroupSlot(target.DriveId, [slot.Drive!.Value], IsComplete: false) : slot);
        BlockRepairResult result = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, new Scheme(6, 3), 0, default, new ShardSet(1 << 4)), Stop);
        Assert.Equal(BlockRepairStatus.Whole, result.Status);
        Assert.Equal(result.BytesWritten, result.BytesRead);
        Assert.Equal(new FragmentKey(layout.Id, 0, 4), Assert.Single(target.Keys));
    }

    [Fact]
    public async Task WhatCannotBeRepaired_SaysWhy()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        var scheme = new Scheme(6, 3);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(300_000), null, Stop);
        var work = new BlockRepair(layout.Id, layout.PlacementGroup, scheme, 0, default, ShardSet.All(9));

        // A target that does not answer; the others are made.
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, 1));
        BlockRepairResult result = await cluster.Store.Repairer.RepairAsync(work, Stop);
        Assert.Equal((BlockRepairStatus.TargetsUnavailable, new ShardSet(1)), (result.Status, result.Rebuilt));

        // A target that is full.
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        MemoryFragmentStore full = cluster.DriveOf(layout.PlacementGroup, 0);
        full.Fault = (operation, _, _) => operation == FragmentOperation.Write ? ValueTask.FromException(new DriveFullException(full.DriveId, 0, 1)) : default;
        result = await cluster.Store.Repairer.RepairAsync(work, Stop);
        Assert.Equal((BlockRepairStatus.TargetsUnavailable, 0), (result.Status, result.Rebuilt.Count));

        // Sources that do not answer.
        for (int shard = 1; shard < 4; shard++)
            MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, shard));
        full.Fault = null;
        result = await cluster.Store.Repairer.RepairAsync(work with { Wanted = new ShardSet(1) }, Stop);
        Assert.Equal(BlockRepairStatus.SourcesUnavailable, result.Status);

        // Fragments that are not there.
        for (int shard = 1; shard < 4; shard++)
        {
            cluster.DriveOf(layout.PlacementGroup, shard).Fault = null;
            cluster.DriveOf(layout.PlacementGroup, shard).Clear();
        }

        cluster.Time.Advance(cluster.Options.DriveProbeInterval);
        result = await cluster.Store.Repairer.RepairAsync(work with { Wanted = new ShardSet(1) }, Stop);
        Assert.Equal(BlockRepairStatus.TooFewFragments, result.Status);
        Assert.NotNull(result.Details);
        await cluster.Store.DeleteAsync(layout, Stop);
        result = await cluster.Store.Repairer.RepairAsync(work, Stop);
        Assert.Equal((BlockRepairStatus.TooFewFragments, null), (result.Status, result.Details));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task HangingSource_IsPassedOver()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(300_000), null, Stop);
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 3), FragmentOperation.Read);
        Task<BlockRepairResult> repair = cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, new Scheme(6, 3), 0, default, new ShardSet(1)), Stop).AsTask();
        Assert.False(repair.IsCompleted);
        cluster.Time.Advance(cluster.Options.HedgeFloor * 2);
        Assert.Equal(BlockRepairStatus.Whole, (await repair).Status);
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task ReadsOfRepair_DoNotMakeClientsWaitLonger()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(300_000), null, Stop);
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        MemoryFragmentStore slow = cluster.DriveOf(layout.PlacementGroup, 3);
        TaskCompletionSource hang = MemoryCluster.Hang(slow, FragmentOperation.Read);
        Task<BlockRepairResult> repair = cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, new Scheme(6, 3), 0, default, new ShardSet(1)), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.HedgeFloor * 10);
        hang.SetResult();
        Assert.Equal(BlockRepairStatus.Whole, (await repair).Status);
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(cluster.Options.HedgeFloor, cluster.Store.Route.SlotsOf(layout.PlacementGroup)[3].Drive!.HedgeDelay);
    }

    [Fact]
    public async Task Repair_HoldsWhatItHasTakenFromItsBudget_ForWhatItComputes()
    {
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, groups: 1, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 512 << 10, RepairBufferBytes = 9 << 20 });
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(6 * (512 << 10)), null, Stop);
        foreach (int shard in (int[])[0, 4, 8])
            cluster.DriveOf(layout.PlacementGroup, shard).Clear();
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 3), FragmentOperation.Read);
        Task<BlockRepairResult> repair = cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, new Scheme(6, 3), 0, default, ShardSet.All(9)), Stop).AsTask();
        Assert.Equal((6 + 3) * (512L << 10), cluster.Store.RepairBudget.TakenBytes);
        hang.SetResult();
        Assert.Equal(BlockRepairStatus.Whole, (await repair).Status);
        await cluster.AssertIdleAsync(Stop);
    }

    private static async Task<Dictionary<FragmentKey, byte[]>> Payloads(MemoryCluster cluster, ExtentLayout layout)
    {
        var payloads = new Dictionary<FragmentKey, byte[]>();
        foreach (MemoryFragmentStore drive in cluster.Drives)
        {
            foreach (FragmentKey key in drive.Keys)
            {
                FragmentDetails details = (await drive.StatAsync(key, Stop))!;
                var payload = new byte[details.PayloadBytes];
                await drive.ReadAsync(new FragmentAddress(key, layout.PlacementGroup, details.Scheme, details.PayloadBytes), 0, payload, Stop);
                payloads.Add(key, payload);
            }
        }

        return payloads;
    }
}
