using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Tests.Fixtures;
using ObjectStore.Metadata;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Maintenance.Tests.Repair;

public sealed class RepairPassTests
{
    private static readonly Scheme Copies3 = Scheme.Copies(3);
    private static readonly Scheme Coded = new(4, 2);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task LostDrives_AreRebuiltElsewhereAndTheSlotsCompleted(int lost)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 10);
        await cluster.WriteManyAsync(80);
        RepairService repair = await cluster.StartRepairAsync();
        foreach (MappedDrive drive in cluster.Mapped.Take(lost).ToArray())
            cluster.Lose(drive.Id);
        Assert.True(cluster.IncompleteSlots > 0);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
        RepairStatus status = repair.Status;
        Assert.True(status.FragmentsRebuilt > 0 && status.BytesRebuilt > 0);
        Assert.Equal((0, 0, 0L, 0L), (status.IncompleteSlots, status.GroupsLeft, status.Failures, status.BlocksLost));
        Assert.Empty(await cluster.Metadata.ListCursorsAsync("repair/pass/"));
    }

    [Fact]
    public async Task LostDrive_IsRebuiltOnce()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(60);
        RepairService repair = await cluster.StartRepairAsync();
        int held = cluster.Store(cluster.Mapped[0].Id).Count;
        cluster.Lose(cluster.Mapped[0].Id);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.Equal(held, repair.Status.FragmentsRebuilt);
        Assert.Equal(cluster.Repairer.Asked.Count, cluster.Repairer.Asked.Select(work => (work.Extent, work.Block)).Distinct().Count());
    }

    [Fact]
    public async Task Restart_InTheMiddle_GoesOnWhereItStood()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 7, groups: 4);
        for (int i = 0; i < 900; i++)
            await cluster.WriteAsync(Coded, 64);
        cluster.Time.Advance(TimeSpan.FromDays(1));
        cluster.Lose(cluster.Mapped[0].Id);
        int expected = cluster.Live.Count(extent => IsAffected(cluster, extent));
        Assert.True(expected > 500);
        using CancellationTokenSource stop = new();
        int repaired = 0;
        cluster.Repairer.Before = (_, _) =>
        {
            if (Interlocked.Increment(ref repaired) == expected / 2)
                stop.Cancel();
            return default;
        };
        RepairService first = await cluster.StartRepairAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            while (true)
                await first.RunNextPassAsync(stop.Token);
        });
        Assert.NotEmpty(await cluster.Metadata.ListCursorsAsync("repair/pass/"));
        Assert.True(cluster.IncompleteSlots > 0);
        int before = cluster.Repairer.Asked.Count;

        cluster.Repairer.Before = null;
        RepairService second = await cluster.StartRepairAsync();
        await cluster.RunPassesUntilAsync(second, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();

        // What was done is neither done nor looked at again but for what was in the making; the comparison of recent extents finds nothing that young.
        Assert.InRange(cluster.Repairer.Asked.Count, expected, expected + 600);
        Assert.InRange(second.Status.BlocksExamined, 1, first.Status.BlocksExamined + (cluster.Live.Count - before) - 1);
        Assert.True(second.Status.BlocksExamined < cluster.Live.Count, $"{second.Status.BlocksExamined} blocks were looked at again");
    }

    [Fact]
    public async Task SecondLoss_WhileTheFirstIsRepaired_PutsTheGroupsThatMissTwoFirst()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12, groups: 16);
        for (int i = 0; i < 1500; i++)
            await cluster.WriteAsync(Coded, 64);
        cluster.Time.Advance(TimeSpan.FromDays(1));
        Guid first = cluster.Mapped[0].Id, second = cluster.Mapped[1].Id;
        cluster.Lose(first);
        int begun = 0, switchedAt = int.MaxValue;
        HashSet<int> twice = [];
        cluster.Repairer.Before = (_, _) =>
        {
            if (Interlocked.Increment(ref begun) == 20)
            {
                ClusterMap before = cluster.Map;
                cluster.Lose(second);
                twice = [.. cluster.Map.Groups.Where(group => cluster.Map.SlotsOf(group).Count(slot => !slot.IsComplete && slot.Sources.IsEmpty) >= 2).Select(group => group.Value)];
                switchedAt = cluster.Repairer.Asked.Count;
            }

            return default;
        };
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
        Assert.NotEmpty(twice);

        // Behind what the pass before had in hand come all that miss two, then the others.
        BlockRepair[] after = [.. cluster.Repairer.Asked.Skip(switchedAt)];
        int lastOfTwo = Array.FindLastIndex(after, work => twice.Contains(work.PlacementGroup) && work.Wanted.Count == 2);
        int othersBetween = after.Take(lastOfTwo).Count(work => !twice.Contains(work.PlacementGroup));
        Assert.True(lastOfTwo >= 0);
        Assert.InRange(othersBetween, 0, 300);
        Assert.Contains(after.Skip(lastOfTwo + 1), work => !twice.Contains(work.PlacementGroup));
    }

    [Fact]
    public async Task Passes_GoByTheFragmentsThatAreLeftToSpare_NotByThoseThatAreLost_AndMovesComeLast()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12, groups: 64);
        cluster.Drain(cluster.Mapped[2].Id);
        cluster.Lose(cluster.Mapped[0].Id);
        cluster.Lose(cluster.Mapped[1].Id);
        RepairOptions options = new() { Schemes = [Scheme.Copies(2), new Scheme(1, 2), new Scheme(2, 1), new Scheme(3, 3)] };
        Assert.Equal((1, 3, 3), (options.ParityOf(3), options.ParityOf(6), options.ParityOf(20)));
        List<(int Spare, int Width)> order = [.. PassPlan.Fill(cluster.Map, cluster, options.ParityOf).Select(plan =>
        {
            int width = new PlacementGroupId(plan.Groups.Keys.First()).Width;
            return (plan.SlotsWithoutSource == 0 ? int.MaxValue : options.ParityOf(width) - plan.SlotsWithoutSource, width);
        })];
        Assert.Equal(order.Order(), order);
        Assert.Contains((0, 3), order);
        Assert.Contains((1, 6), order);
        Assert.True(order.IndexOf((0, 3)) < order.IndexOf((1, 6)), "One copy of three is gone and one may be; of the others two of which three may be.");
        Assert.Equal(int.MaxValue, order[^1].Spare);
    }

    [Fact]
    public async Task DriveWhoseNodeIsAway_IsNotAtHand_AndIsNotFilled()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12, groups: 64);
        cluster.Lose(cluster.Mapped[0].Id);
        RepairOptions options = new();
        int before = PassPlan.Fill(cluster.Map, cluster, options.ParityOf).Max(plan => plan.SlotsWithoutSource);
        foreach (MappedDrive drive in cluster.Mapped.Skip(6))
            cluster.Store(drive.Id).IsReachable = false;
        Assert.True(PassPlan.Fill(cluster.Map, cluster, options.ParityOf).Max(plan => plan.SlotsWithoutSource) > before);
        foreach (MappedDrive drive in cluster.Mapped)
            cluster.Store(drive.Id).IsReachable = false;
        Assert.Empty(PassPlan.Fill(cluster.Map, cluster, options.ParityOf));
    }

    [Fact]
    public async Task Drain_LeavesTheDriveEmptyAndRewritesNoMetadata()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(60);
        RepairService repair = await cluster.StartRepairAsync();
        Guid drained = cluster.Mapped[3].Id;
        Assert.True(cluster.Store(drained).Count > 0);
        cluster.Drain(drained);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.True(cluster.Store(drained).Count > 0, "Readers that have not seen the new map are given time.");
        await cluster.RunPassesUntilAsync(repair, () => repair.Status.SweepsPending == 0);
        Assert.Empty(cluster.Store(drained).Keys);
        await cluster.AssertWholeAsync();
        Assert.Empty(cluster.Strays());
        Assert.All(cluster.Live, extent => Assert.Equal(1, cluster.Metadata.CountInserts(extent.Version)));
        Assert.Empty(await cluster.Metadata.ListCursorsAsync("sweep/"));
    }

    [Fact]
    public async Task Sweep_WhileTheDriveGetsItsSlotsBack_HasWhatItDeletedRepaired()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(60);
        ClusterMap before = cluster.Map;
        Guid drained = cluster.Mapped[3].Id;
        int whole = cluster.Store(drained).Count;
        cluster.Drain(drained);
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        bool isBack = false;
        cluster.Store(drained).Fault = (operation, _, _) =>
        {
            // Complete, as by a pass that has seen the fragments there.
            if (operation == FragmentOperation.Delete && !isBack)
            {
                isBack = true;
                cluster.ChangeSlots((group, number, _) => before.SlotsOf(new PlacementGroupId(group))[number]);
            }

            return default;
        };
        await cluster.RunPassesUntilAsync(repair, () => isBack && repair.Status.SweepsPending == 0);
        Assert.InRange(cluster.Store(drained).Count, 0, whole - 1);
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Equal(whole, cluster.Store(drained).Count);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Drain_WhenTheProcessStopsBeforeTheSweep_EndsEmptyAllTheSame()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(30);
        Guid drained = cluster.Mapped[3].Id;
        cluster.Drain(drained);
        RepairService first = await cluster.StartRepairAsync();
        await cluster.RunPassesUntilAsync(first, () => cluster.IncompleteSlots == 0);
        Assert.True(cluster.Store(drained).Count > 0);

        RepairService second = await cluster.StartRepairAsync();
        Assert.Equal(1, second.Status.SweepsPending);
        await cluster.RunPassesUntilAsync(second, () => second.Status.SweepsPending == 0);
        Assert.Empty(cluster.Store(drained).Keys);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Join_TakesItsShareAndNothingStaysBehind()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8, groups: 64);
        await cluster.WriteManyAsync(150, maxBytes: 5000);
        RepairService repair = await cluster.StartRepairAsync();
        Guid joined = cluster.Join();
        Assert.True(cluster.IncompleteSlots > 0);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0 && repair.Status.SweepsPending == 0);
        await cluster.AssertWholeAsync();
        Assert.Empty(cluster.Strays());
        int all = cluster.Mapped.Sum(drive => cluster.Store(drive.Id).Count);
        Assert.InRange(cluster.Store(joined).Count / (double)all, 0.6 / 9, 1.5 / 9);
    }

    [Fact]
    public async Task Source_ThatDoesNotAnswer_KeepsItsSlotsIncompleteUntilItDoes()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(40);
        RepairService repair = await cluster.StartRepairAsync();
        Guid drained = cluster.Mapped[2].Id;
        cluster.Drain(drained);
        cluster.SetReachable(drained, false);
        for (int i = 0; i < 10; i++)
        {
            if (!await repair.RunNextPassAsync(CancellationToken.None))
                cluster.Time.Advance(TimeSpan.FromSeconds(10));
        }

        // All fragments could be computed from others, and were; but who knows what else is on that drive.
        await cluster.AssertWholeAsync();
        Assert.True(cluster.IncompleteSlots > 0);
        cluster.SetReachable(drained, true);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
    }

    [Fact]
    public async Task Target_ThatIsFull_KeepsItsSlotsIncompleteAndIsTriedAgain()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(40);
        RepairService repair = await cluster.StartRepairAsync();
        cluster.Lose(cluster.Mapped[0].Id);
        MemoryFragmentStore target = cluster.Store(cluster.Map.Groups.SelectMany(cluster.Map.SlotsOf).First(slot => !slot.IsComplete).Drive!.Value);
        target.Fault = (operation, _, _) => operation == FragmentOperation.Write ? throw new DriveFullException(target.DriveId, 0, 1) : default;
        for (int i = 0; i < 6; i++)
        {
            if (!await repair.RunNextPassAsync(CancellationToken.None))
                cluster.Time.Advance(TimeSpan.FromSeconds(5));
        }

        Assert.Contains(cluster.Map.Groups.SelectMany(cluster.Map.SlotsOf), slot => !slot.IsComplete && slot.Drive == target.DriveId);
        Assert.True(repair.Status.Failures > 0);
        target.Fault = null;
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Listing_ThatBreaksOffOnOneDrive_CompletesNoSlotOfItsGroups()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8, groups: 2);
        await cluster.WriteManyAsync(200, maxBytes: 100);
        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { ListPageEntries = 10 });
        await DrainPassesAsync(repair);
        cluster.Drain(cluster.Mapped[0].Id);
        MemoryFragmentStore failing = cluster.Store(cluster.Mapped[1].Id);
        int pages = 0;
        failing.Fault = (operation, _, _) => operation == FragmentOperation.List && ++pages == 4 ? throw new DriveUnavailableException(failing.DriveId, "test") : default;
        ClusterMap before = cluster.Map;
        await repair.RunNextPassAsync(CancellationToken.None);
        PlacementGroupId[] touched = [.. before.Groups.Where(group => before.SlotsOf(group).Any(slot => slot.Drive == failing.DriveId))];
        Assert.NotEmpty(touched);
        Assert.All(touched, group => Assert.Equal(before.SlotsOf(group), cluster.Map.SlotsOf(group)));
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task DeletedExtent_WithAFragmentLeftOnADriveThatWasAway_IsNotRebuilt()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent young = await cluster.WriteAsync(Copies3), kept = await cluster.WriteAsync(Copies3);
        TestExtent old = await cluster.WriteAsync(Copies3), queued = await cluster.WriteAsync(Copies3);
        foreach (TestExtent extent in new[] { young, old, queued })
        {
            // All but the last shard are reclaimed; that drive is away.
            await cluster.DeleteAsync(extent);
            for (int shard = 0; shard < 2; shard++)
                await cluster.Store(cluster.DriveOf(extent, shard)).DeleteAsync(new[] { new FragmentKey(extent.Id, 0, (ushort)shard) });
            if (extent != queued)
                await cluster.Metadata.RemoveGarbageAsync([.. (await cluster.Metadata.ListGarbageAsync(long.MaxValue, 100)).Where(garbage => garbage.Extent == extent.Part).Select(garbage => garbage.GarbageId)]);
        }

        // The three are in groups that a lost drive leaves incomplete.
        RepairService repair = await cluster.StartRepairAsync();
        MakeIncomplete(cluster);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.DoesNotContain(cluster.Repairer.Asked, work => work.Extent == old.Id || work.Extent == queued.Id || work.Extent == young.Id);
        await cluster.AssertWholeAsync();

        // The young one is looked at later, when it is an orphan.
        Assert.Equal(2, await cluster.Metadata.CountRepairsAsync());
        cluster.Time.Advance(TimeSpan.FromHours(73));
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.DoesNotContain(cluster.Repairer.Asked.Select(work => work.Extent), extent => extent == kept.Id);
        Assert.Equal(3, cluster.Metadata.GarbageCount);
        foreach (TestExtent extent in new[] { young, old, queued })
            Assert.Single(cluster.Mapped, drive => cluster.Store(drive.Id).Keys.Any(key => key.Extent == extent.Id));
    }

    [Fact]
    public async Task WriteUnderWay_IsLeftToItsWriterAndLookedAtLater()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        TestExtent written = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        RepairService repair = await cluster.StartRepairAsync();
        MakeIncomplete(cluster);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.Empty(cluster.Repairer.Asked);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());

        await cluster.CommitAsync(written);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task LostBlock_OfANamedExtent_IsCountedAndStandsInNobodysWay()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        TestExtent lost = await cluster.WriteAsync(Coded, without: new ShardSet(0b000111));
        await cluster.WriteAsync(Coded);
        RepairService repair = await cluster.StartRepairAsync();
        MakeIncomplete(cluster);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        Assert.True(repair.Status.BlocksLost > 0);
        cluster.Live.Remove(lost);
        await cluster.AssertWholeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task DriveThatComesBack_AfterItsSlotsWereCompletedWithoutIt_BringsHomeWhatIsNowhereElse(bool restart)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        for (int i = 0; i < 60; i++)
            await cluster.WriteAsync(Copies3, without: new ShardSet(0b110));
        Guid out1 = cluster.Mapped[0].Id;
        TestExtent[] only = [.. cluster.Live.Where(extent => cluster.DriveOf(extent, 0) == out1)];
        Assert.NotEmpty(only);
        RepairService repair = await cluster.StartRepairAsync();
        cluster.TakeOut(out1);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        if (restart)
            repair = await cluster.StartRepairAsync();
        cluster.BringBack(out1);
        Assert.Contains(only, extent => cluster.DriveOf(extent, 0) != out1);
        await repair.RunNextPassAsync(CancellationToken.None);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0 && repair.Status.SweepsPending == 0);
        foreach (TestExtent extent in only)
            Assert.True(await cluster.IsIntactAsync(extent, extent.Keys.First(), cluster.DriveOf(extent, 0)));
    }

    [Fact]
    public async Task BlockThatNeedsADriveThatIsOut_KeepsItsSlotsIncompleteUntilTheDriveIsBack()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Coded);
        RepairService repair = await cluster.StartRepairAsync();
        Guid[] taken = [.. Enumerable.Range(0, 3).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
            cluster.TakeOut(drive);
        await LetPassesRunAsync(cluster, repair, 40, TimeSpan.FromSeconds(10));

        Assert.Equal(3, cluster.Map.SlotsOf(new PlacementGroupId(extent.Group)).Count(slot => !slot.IsComplete));
        Assert.Equal(3, cluster.IncompleteSlots);
        Assert.Equal(0, repair.Status.BlocksLost);
        foreach (Guid drive in taken)
            cluster.BringBack(drive);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task GroupWhoseDrivesAreAllOut_IsNotTakenForWhole_ThoughNothingOfItIsListed()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Copies3, 1000, 256 << 10);
        RepairService repair = await cluster.StartRepairAsync();
        Guid[] taken = [.. Enumerable.Range(0, 3).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
            cluster.TakeOut(drive);
        await LetPassesRunAsync(cluster, repair, 40, TimeSpan.FromSeconds(10));

        Assert.All(cluster.Map.SlotsOf(new PlacementGroupId(extent.Group)), slot => Assert.False(slot.IsComplete || slot.Absent.IsEmpty));
        await Assert.ThrowsAsync<ExtentUnavailableException>(() => cluster.ReadAsync(extent));
        await cluster.Queue.RecordAsync(new RepairNotice(extent.Id, extent.Group, extent.Scheme, 0, 1, new ShardSet(0b111), RepairReason.MissingOnRead));
        cluster.Time.Advance(TimeSpan.FromMinutes(1));
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        foreach (Guid drive in taken)
            cluster.BringBack(drive);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task DegradedWrite_WhoseDrivesAreOut_KeepsItsGroupFromBeingTakenForWhole()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100)), whole = await cluster.WriteAsync(Copies3);
        await cluster.Queue.RecordAsync(new RepairNotice(extent.Id, extent.Group, extent.Scheme, 0, 1, new ShardSet(0b100), RepairReason.DegradedWrite));
        RepairService repair = await cluster.StartRepairAsync();
        Guid[] taken = [.. Enumerable.Range(0, 2).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
            cluster.TakeOut(drive);
        await LetPassesRunAsync(cluster, repair, 40, TimeSpan.FromSeconds(10), queueToo: true);

        // Other groups that lost the same drives are complete.
        Assert.Equal(2, cluster.Map.SlotsOf(new PlacementGroupId(extent.Group)).Count(slot => !slot.IsComplete && !slot.Absent.IsEmpty));
        Assert.Equal(2, cluster.IncompleteSlots);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        cluster.BringBack(taken[1]);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task DegradedWrite_BySchemesThatAreNotConfigured_KeepsItsGroupFromBeingTakenForWhole()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        Scheme narrowed = new(2, 4); // what is left of 10+4 on six drives; 4+2 is configured
        TestExtent extent = await cluster.WriteAsync(narrowed, without: new ShardSet(0b111000));
        await cluster.Queue.RecordAsync(new RepairNotice(extent.Id, extent.Group, extent.Scheme, 0, 1, new ShardSet(0b111000), RepairReason.DegradedWrite));
        await AssertIsWaitedForAsync(cluster, extent, outOfIt: 3);
    }

    [Fact]
    public async Task DegradedWriteOfSeveralBlocks_OfWhichOnlyTheFirstIsAtHand_KeepsItsGroupFromBeingTakenForWhole()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Copies3, 10_000);
        await cluster.Store(cluster.DriveOf(extent, 2)).DeleteAsync(extent.Keys.Where(key => key is { Shard: 2, Block: > 0 }).ToArray());
        await cluster.Queue.RecordAsync(new RepairNotice(extent.Id, extent.Group, extent.Scheme, 0, 3, new ShardSet(0b100), RepairReason.DegradedWrite));
        await AssertIsWaitedForAsync(cluster, extent, outOfIt: 2);
    }

    /// <summary>The drives of the first shards go out: the extent's group waits for them, until they are back.</summary>
    private static async Task AssertIsWaitedForAsync(TestCluster cluster, TestExtent extent, int outOfIt)
    {
        RepairService repair = await cluster.StartRepairAsync();
        Guid[] taken = [.. Enumerable.Range(0, outOfIt).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
            cluster.TakeOut(drive);
        await LetPassesRunAsync(cluster, repair, 40, TimeSpan.FromSeconds(10), queueToo: true);
        Assert.Equal(outOfIt, cluster.Map.SlotsOf(new PlacementGroupId(extent.Group)).Count(slot => !slot.IsComplete && !slot.Absent.IsEmpty));
        foreach (Guid drive in taken)
            cluster.BringBack(drive);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Equal(0, repair.Status.BlocksLost);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task WriteThatWasGivenUp_OnDrivesThatAreOut_IsWaitedForUntilTheMetadataHasBeenSearched()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        await cluster.Queue.RecordAsync(new RepairNotice(extent.Id, extent.Group, extent.Scheme, 0, 1, new ShardSet(0b100), RepairReason.DegradedWrite));
        RepairService repair = await cluster.StartRepairAsync();
        foreach (Guid drive in Enumerable.Range(0, 2).Select(shard => cluster.DriveOf(extent, shard)).ToArray())
            cluster.TakeOut(drive);
        Assert.False(await repair.SearchOwnersAsync(CancellationToken.None));
        await LetPassesRunAsync(cluster, repair, 20, TimeSpan.FromSeconds(1), queueToo: true);
        Assert.Equal((2, 1), (cluster.IncompleteSlots, repair.Status.Queued));
        Assert.False(await repair.SearchOwnersAsync(CancellationToken.None)); // a commit may be on its way
        await LetPassesRunAsync(cluster, repair, 20, TimeSpan.FromSeconds(30), queueToo: true);
        Assert.Equal((2, 1), (cluster.IncompleteSlots, repair.Status.Queued));
        Assert.True(await repair.SearchOwnersAsync(CancellationToken.None));
        await LetPassesRunAsync(cluster, repair, 20, TimeSpan.FromSeconds(20), queueToo: true);
        Assert.Equal((0, 0), (cluster.IncompleteSlots, repair.Status.Queued));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task DriveThatIsGivenUp_IsWaitedForNoMore_AndWhatNeedsItIsLostAndSaysSo(bool restart)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Coded, 10_000, 256 << 10), other = await cluster.WriteAsync(Copies3, 1000, 256 << 10);
        RepairService repair = await cluster.StartRepairAsync();
        Guid[] taken = [.. Enumerable.Range(0, 3).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
            cluster.TakeOut(drive);
        await DrainPassesAsync(repair);
        Assert.Equal(3, cluster.IncompleteSlots);
        Assert.Equal((0, 1), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
        await Assert.ThrowsAsync<ExtentUnavailableException>(() => cluster.ReadAsync(extent));
        if (restart)
            repair = await cluster.StartRepairAsync();

        // With one drive back all can be made; two that are given up leave that to the third.
        foreach (Guid drive in taken[..2])
        {
            cluster.GiveUp(drive);
            await DrainPassesAsync(repair);
            Assert.Equal((0, 1), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
            Assert.Equal(3, cluster.IncompleteSlots);
        }

        cluster.GiveUp(taken[2]);
        Assert.DoesNotContain(cluster.Map.Groups.SelectMany(cluster.Map.SlotsOf), slot => slot.Absent.Length > 0);
        await DrainPassesAsync(repair);
        Assert.Equal(0, cluster.IncompleteSlots);
        Assert.Equal((1, 0), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
        await Assert.ThrowsAsync<ExtentLostException>(() => cluster.ReadAsync(extent));
        Assert.Equal(other.LengthBytes, (await cluster.ReadAsync(other)).Length);

        // It stays queued, is counted again after a restart, and is whole again should a drive turn up after all and be taken back.
        repair = await cluster.StartRepairAsync();
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        cluster.Time.Advance(TimeSpan.FromHours(2));
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(1, repair.Status.BlocksLost);
        await TakeBackAndBecomeWholeAsync(cluster, repair, taken[0]);
    }

    [Fact]
    public async Task DrivesThatAreLostAndGivenUpUnseen_AreSweptWhenTheyAreTakenBack()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Coded, 10_000, 256 << 10);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        Guid[] taken = [.. Enumerable.Range(0, 3).Select(shard => cluster.DriveOf(extent, shard))];
        foreach (Guid drive in taken)
        {
            cluster.TakeOut(drive);
            cluster.GiveUp(drive);
        }

        // Even if the process that had seen them ended with it.
        repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        Assert.Equal(1, repair.Status.BlocksLost);
        await TakeBackAndBecomeWholeAsync(cluster, repair, taken[0]);
    }

    [Fact]
    public async Task DriveThatGoesOutDuringAPass_IsWaitedForAndMakesNothingLost()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12);
        TestExtent extent = await cluster.WriteAsync(Coded, without: new ShardSet(0b11));
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        cluster.Time.Advance(TimeSpan.FromHours(25));
        Guid third = cluster.DriveOf(extent, 2);
        bool isOut = false;
        cluster.Repairer.Before = (_, _) =>
        {
            if (!isOut)
                cluster.TakeOut(third);
            isOut = true;
            return default;
        };
        for (int i = 0; i < 5 && !isOut; i++)
            await repair.RunNextPassAsync(CancellationToken.None);
        Assert.True(isOut);
        Assert.Equal((0, 1), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
    }

    [Fact]
    public async Task AwaitedBlock_ThatIsDeleted_IsAwaitedNoMore_WhereOthersOfItsGroupAre()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 12, groups: 1);
        TestExtent deleted = await cluster.WriteAsync(Coded), other = await cluster.WriteAsync(Coded);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        foreach (Guid drive in Enumerable.Range(0, 3).Select(shard => cluster.DriveOf(deleted, shard)).ToArray())
            cluster.TakeOut(drive);
        await DrainPassesAsync(repair);
        Assert.Equal((0, 2), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
        await cluster.DeleteAsync(deleted);
        await cluster.ReclaimAsync(deleted);
        cluster.Time.Advance(TimeSpan.FromMinutes(10));
        await DrainPassesAsync(repair);
        Assert.Equal((0, 1), (repair.Status.BlocksLost, repair.Status.BlocksAwaiting));
        Assert.Equal(other.Group, deleted.Group);
    }

    [Fact]
    public async Task PassThatFailed_IsDueAtOnceByANewMap_AndOnceForEach()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8, groups: 2);
        for (int i = 0; i < 10; i++)
            await cluster.WriteAsync(Copies3);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        cluster.Lose(cluster.DriveOf(cluster.Live[0], 0));
        foreach (MappedDrive drive in cluster.Mapped)
            cluster.Store(drive.Id).Fault = (operation, _, _) => operation == FragmentOperation.Write ? throw new DriveFullException(drive.Id, 0, 1) : default;
        await DrainPassesAsync(repair);

        // A pass looks twice at extents as new as these.
        int incomplete = cluster.IncompleteSlots, asked = cluster.Repairer.Asked.Count, each = 2 * cluster.Live.Count(extent => IsAffected(cluster, extent));
        Assert.True(incomplete > 0 && each > 0);
        for (int i = 0; i < 3; i++)
        {
            cluster.RaiseEpoch();
            await DrainPassesAsync(repair);
            Assert.Equal(asked + (each * (i + 1)), cluster.Repairer.Asked.Count);
            await DrainPassesAsync(repair);
            Assert.Equal(asked + (each * (i + 1)), cluster.Repairer.Asked.Count);
        }

        foreach (MappedDrive drive in cluster.Mapped)
            cluster.Store(drive.Id).Fault = null;
        await DrainPassesAsync(repair);
        Assert.Equal(incomplete, cluster.IncompleteSlots);
        cluster.RaiseEpoch();
        await DrainPassesAsync(repair);
        Assert.Equal(0, cluster.IncompleteSlots);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task UncleanStop_MakesTheNewestExtentsComeFirst()
    {
        (TestCluster cluster, _) = await SettledAsync(drives: 9);
        TestExtent old = await cluster.WriteAsync(Copies3, without: new ShardSet(0b001));
        cluster.Time.Advance(TimeSpan.FromHours(3));

        // A write was acknowledged with a quorum, and the process went before it could say what was missing.
        TestExtent degraded = await cluster.WriteAsync(Coded, without: new ShardSet(0b010000));
        cluster.Time.Advance(TimeSpan.FromMinutes(20));
        await cluster.Metadata.SetCursorAsync("repair/recent", [1, .. BitConverter.GetBytes(cluster.Time.GetUtcNow().AddMinutes(-10).ToUnixTimeMilliseconds())]);
        cluster.Drain(cluster.Mapped[0].Id);
        RepairService second = await cluster.StartRepairAsync();
        await second.RunNextPassAsync(CancellationToken.None);
        Assert.Equal([degraded.Id], cluster.Repairer.Asked.Select(work => work.Extent).ToArray());

        // The older one is found by the comparison of everything.
        cluster.Time.Advance(TimeSpan.FromDays(2));
        await cluster.RunPassesUntilAsync(second, () => cluster.Repairer.Asked.Any(work => work.Extent == old.Id) && cluster.IncompleteSlots == 0);
        await DrainPassesAsync(second);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task RecentComparison_WhileADriveIsAway_IsRepeated()
    {
        (TestCluster cluster, RepairService repair) = await SettledAsync(drives: 9);
        cluster.Time.Advance(TimeSpan.FromMinutes(30));
        TestExtent degraded = await cluster.WriteAsync(Copies3, without: new ShardSet(0b001));
        Guid away = cluster.DriveOf(degraded, 0);
        cluster.SetReachable(away, false);
        for (int i = 0; i < 12; i++)
        {
            cluster.Time.Advance(TimeSpan.FromMinutes(10));
            await DrainPassesAsync(repair);
        }

        cluster.SetReachable(away, true);
        cluster.Time.Advance(TimeSpan.FromMinutes(10));
        await DrainPassesAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Audit_FindsWhatNoIndexLists()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(50);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        foreach (TestExtent extent in cluster.Live)
            await cluster.Store(cluster.DriveOf(extent, 1)).DeleteAsync(extent.Keys.Where(key => key.Shard == 1).ToArray());
        cluster.Time.Advance(TimeSpan.FromDays(4));
        await DrainPassesAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Audit_AfterAClockThatWasAhead_IsNotPutOffUntilThen()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        await cluster.WriteManyAsync(50);
        byte[] inAYear = [1, .. BitConverter.GetBytes(cluster.Time.GetUtcNow().AddYears(1).ToUnixTimeMilliseconds())];
        await cluster.Metadata.SetCursorAsync("repair/audited", inAYear);
        await cluster.Metadata.SetCursorAsync("repair/recent", inAYear);
        TestExtent degraded = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100));
        ulong high = (ulong)(degraded.Id.Value >> 64), low = (ulong)degraded.Id.Value;
        await cluster.Metadata.RecordRepairsAsync([new RepairRecord(high, low, 0, 1, degraded.Group, degraded.Scheme.Id, 0b100, 0, 1, cluster.Time.GetUtcNow().AddYears(1).ToUnixTimeMilliseconds())]);
        RepairService repair = await cluster.StartRepairAsync();
        foreach (TestExtent extent in cluster.Live)
            await cluster.Store(cluster.DriveOf(extent, 1)).DeleteAsync(extent.Keys.Where(key => key.Shard == 1).ToArray());
        await DrainPassesAsync(repair);
        await cluster.RunQueueUntilEmptyAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Orphans_ThatAreKept_StayQueued()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 9);
        TestExtent orphan = await cluster.WriteAsync(Copies3, without: new ShardSet(0b100), commit: false);
        await cluster.Queue.RecordAsync(new RepairNotice(orphan.Id, orphan.Group, orphan.Scheme, 0, 1, new ShardSet(0b100), RepairReason.DegradedWrite));
        FragmentDetails details = (await cluster.Store(cluster.DriveOf(orphan, 0)).StatAsync(orphan.Keys.First()))!;
        cluster.Time.Advance(TimeSpan.FromHours(73));
        RepairService repair = await cluster.StartRepairAsync();
        await cluster.Liveness.CondemnAsync([.. Enumerable.Repeat(details, 1 + Maintenance.Liveness.MetadataExtentLiveness.FreeOrphans)]);
        Assert.True(cluster.Liveness.IsBraked);
        await repair.WorkOffQueueAsync(CancellationToken.None);
        Assert.Equal(1, await cluster.Metadata.CountRepairsAsync());
        cluster.Liveness.ReleaseBrake();
        await cluster.RunQueueUntilEmptyAsync(repair);
    }

    [Fact]
    public async Task Sweep_YieldsToFragmentsThatAreToBeRebuilt()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 10);
        await cluster.WriteManyAsync(80);
        Guid drained = cluster.Mapped[3].Id, lost = cluster.Mapped[5].Id;
        cluster.Drain(drained);
        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { ListPageEntries = 5 });
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0);
        int left = cluster.Store(drained).Count;
        Assert.True(left > 5);
        bool swept = false;
        cluster.Store(drained).Fault = (operation, _, _) =>
        {
            // The first page is being swept.
            if (operation == FragmentOperation.Delete && !swept)
            {
                swept = true;
                cluster.Lose(lost);
            }

            return default;
        };
        for (int i = 0; i < 100 && !swept; i++)
        {
            if (!await repair.RunNextPassAsync(CancellationToken.None))
                cluster.Time.Advance(TimeSpan.FromSeconds(5));
        }

        Assert.True(cluster.Store(drained).Count > 0, "The sweep went on to its end.");
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0 && repair.Status.SweepsPending == 0);
        Assert.Equal(0, cluster.Store(drained).Count);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Rate_IsKept()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 7, groups: 2);
        for (int i = 0; i < 20; i++)
            await cluster.WriteAsync(Copies3, 10_000, 10_000);
        RepairService repair = await cluster.StartRepairAsync(new RepairOptions { BytesPerSecond = 10_000, MaxParallelBlocks = 4 });
        await DrainPassesAsync(repair);
        cluster.Lose(cluster.Mapped[0].Id);
        DateTimeOffset began = cluster.Time.GetUtcNow();
        await cluster.LetTimePassUntilAsync(repair.RunNextPassAsync(CancellationToken.None));
        long bytes = repair.Status.BytesRebuilt;
        Assert.True(bytes > 30_000);
        Assert.InRange((cluster.Time.GetUtcNow() - began).TotalSeconds, bytes / 10_000.0 - 1, bytes / 10_000.0 + 1);
        Assert.InRange(cluster.Repairer.MostInside, 1, 4);

        // By the time that repair was at work, too.
        Assert.InRange(repair.Status.Active.TotalSeconds, bytes / 10_000.0 - 1, bytes / 10_000.0 + 1);
    }

    [Fact]
    public async Task Pause_HoldsTheWorkUntilItIsResumed()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(20);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        cluster.Lose(cluster.Mapped[0].Id);
        repair.Pause();
        Task<bool> pass = repair.RunNextPassAsync(CancellationToken.None);
        Assert.False(pass.IsCompleted);
        Assert.Empty(cluster.Repairer.Asked);
        Assert.True(repair.Status.Paused);
        repair.Resume();
        await pass.WaitAsync(TimeSpan.FromSeconds(30));
        await DrainPassesAsync(repair);
        await cluster.AssertWholeAsync();
    }

    [Fact]
    public async Task Service_RepairsWhileItRunsAndStopsCleanly()
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives: 8);
        await cluster.WriteManyAsync(30);
        TaskCompletionSource completed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.OnComplete = _ => completed.TrySetResult();
        cluster.Lose(cluster.Mapped[0].Id);
        RepairService repair = cluster.CreateRepair();
        await repair.StartAsync(CancellationToken.None);
        await completed.Task.WaitAsync(TimeSpan.FromSeconds(30));
        await repair.StopAsync(CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.True(repair.Status.FragmentsRebuilt > 0);
        Assert.Empty(await cluster.Metadata.ListCursorsAsync("repair/running"));
    }

    /// <summary>A cluster whose first comparisons are done with.</summary>
    private static async Task<(TestCluster Cluster, RepairService Repair)> SettledAsync(int drives)
    {
        TestCluster cluster = await TestCluster.CreateAsync(drives);
        RepairService repair = await cluster.StartRepairAsync();
        await DrainPassesAsync(repair);
        return (cluster, repair);
    }

    /// <summary>What only a drive that was given up has is at hand again with it.</summary>
    private static async Task TakeBackAndBecomeWholeAsync(TestCluster cluster, RepairService repair, Guid drive)
    {
        cluster.TakeBack(drive);
        await cluster.RunPassesUntilAsync(repair, () => cluster.IncompleteSlots == 0 && repair.Status.SweepsPending == 0);
        await cluster.RunQueueUntilEmptyAsync(repair);
        Assert.Equal(0, repair.Status.BlocksLost);
        await cluster.AssertWholeAsync();
    }

    private static async Task DrainPassesAsync(RepairService repair)
    {
        int passes = 0;
        while (await repair.RunNextPassAsync(CancellationToken.None))
            Assert.InRange(++passes, 1, 50);
    }

    private static bool IsAffected(TestCluster cluster, TestExtent extent) => cluster.Map.SlotsOf(new PlacementGroupId(extent.Group)).Any(slot => !slot.IsComplete);

    /// <summary>As many steps, and time between those in which no pass had anything to do.</summary>
    private static async Task LetPassesRunAsync(TestCluster cluster, RepairService repair, int steps, TimeSpan rest, bool queueToo = false)
    {
        for (int i = 0; i < steps; i++)
        {
            if (queueToo)
                await repair.WorkOffQueueAsync(CancellationToken.None);
            if (!await repair.RunNextPassAsync(CancellationToken.None))
                cluster.Time.Advance(rest);
        }
    }

    /// <summary>One slot of each group is to be filled: that of shard 0, whose drive stays.</summary>
    private static void MakeIncomplete(TestCluster cluster)
        => cluster.ChangeSlots((_, number, slot) => number == 0 ? slot with { IsComplete = false, Since = cluster.Map.Epoch + 1 } : slot);
}
