using System.Collections.Immutable;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class ExtentWriteTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1, "1 copy", "1 copy")]
    [InlineData(2, "2 copies", "2 copies")]
    [InlineData(3, "3 copies", "3 copies")]
    [InlineData(4, "3 copies", "4 copies")]
    [InlineData(8, "3 copies", "5+3")]
    [InlineData(9, "3 copies", "6+3")]
    public async Task Schemes_AreNarrowedToTheDrives_Loudly_OncePerClassAndWidth(int drives, string small, string large)
    {
        await using var cluster = new MemoryCluster(drives);
        byte[] bytes = cluster.Bytes(700_000);
        for (int i = 0; i < 3; i++)
        {
            ExtentLayout tiny = await cluster.Store.WriteAsync(cluster.Describe(), bytes.AsMemory(0, 100), Stop);
            ExtentLayout whole = await cluster.Store.WriteAsync(cluster.Describe("UNKNOWN"), bytes, Stop);
            Assert.True(Scheme.TryFromId(tiny.SchemeId, out Scheme tinyScheme) & Scheme.TryFromId(whole.SchemeId, out Scheme wholeScheme));
            Assert.Equal((small, large), (tinyScheme.ToString(), wholeScheme.ToString()));
            Assert.Equal(bytes, await cluster.ReadAsync(whole, Stop));
            Assert.Equal(bytes[..100], await cluster.ReadAsync(tiny, Stop));
        }

        Assert.Equal(drives >= 9 ? 0 : drives >= 3 ? 1 : 2, cluster.Events.Narrowed.Count);
        Assert.Equal(drives == 4 ? 3 * (3 + (4 * 6)) : cluster.Fragments, cluster.Fragments);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(700_000)]
    public async Task Writes_ThatAreAnswered_SayHowLongClientsWaitForThem(int length)
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(length);
        for (int i = 0; i < 9; i++)
            await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        Assert.Null(cluster.Store.WriteLoad.GetP99());
        await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        Assert.NotNull(cluster.Store.WriteLoad.GetP99());
    }

    [Fact]
    public async Task OddlyNamedScheme_OfZero_IsReadAsOneCopy()
    {
        await using var cluster = new MemoryCluster(1);
        byte[] bytes = cluster.Bytes(200_000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, null, Stop);
        Assert.Equal(bytes, await cluster.ReadAsync(layout with { SchemeId = 0 }, Stop));
    }

    [Theory]
    [InlineData(100)]
    [InlineData(2_000_000)]
    public async Task DrivesThatFail_WithinTheQuorum_AreRecordedBeforeTheAnswer(int length)
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(length);
        ExtentDescriptor descriptor = cluster.Describe(scheme: length < 100_000 ? Scheme.Copies(3) : null);
        MemoryCluster.Disconnect(cluster.DriveOf(descriptor.PlacementGroup, 1));
        var recording = new TaskCompletionSource();
        cluster.Repairs.OnRecord = _ => new ValueTask(recording.Task);
        Task<ExtentLayout> write = cluster.Store.WriteAsync(descriptor, bytes, Stop).AsTask();
        Assert.False(write.IsCompleted);
        recording.SetResult();
        ExtentLayout layout = await write;
        RepairNotice notice = Assert.Single(cluster.Repairs.Recorded);
        Assert.Equal((layout.Id, 0, layout.BlockCount, new ShardSet(0b10), RepairReason.DegradedWrite), (notice.Extent, notice.FirstBlock, notice.BlockCount, notice.Shards, notice.Reason));
        Assert.Equal(new ShardSet(0b10), Assert.Single(cluster.Events.Degraded));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task RecordThatFails_FailsTheWrite_AndLeavesNothing()
    {
        await using var cluster = new MemoryCluster(9);
        ExtentDescriptor descriptor = cluster.Describe();
        MemoryFragmentStore drive = cluster.DriveOf(descriptor.PlacementGroup, 0);
        drive.Fault = (operation, _, _) => operation == FragmentOperation.Write ? ValueTask.FromException(new DriveUnavailableException(drive.DriveId, "injected")) : default;
        cluster.Repairs.OnRecord = _ => throw new IOException("injected");
        await Assert.ThrowsAsync<IOException>(() => cluster.Store.WriteAsync(descriptor, cluster.Bytes(1_000_000), Stop).AsTask());
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(0, cluster.Fragments);
    }

    [Theory]
    [InlineData(100, 1)]
    [InlineData(100, 2)]
    [InlineData(2_000_000, 2)]
    [InlineData(2_000_000, 3)]
    public async Task Quorum_DecidesWhetherAWriteSucceeds(int length, int failing)
    {
        foreach (FragmentOperation operation in (FragmentOperation[])[FragmentOperation.Write, FragmentOperation.Sync])
        {
            if (length < 1000 && operation == FragmentOperation.Sync)
                continue;
            await using var cluster = new MemoryCluster(9);
            ExtentDescriptor descriptor = cluster.Describe(scheme: length < 1000 ? Scheme.Copies(3) : null);
            for (int shard = 0; shard < failing; shard++)
            {
                MemoryFragmentStore drive = cluster.DriveOf(descriptor.PlacementGroup, shard);
                drive.Fault = (asked, _, _) => asked == operation ? ValueTask.FromException(new DriveUnavailableException(drive.DriveId, "injected")) : default;
            }

            Task<ExtentLayout> write = cluster.Store.WriteAsync(descriptor, cluster.Bytes(length), Stop).AsTask();
            if (failing < (length < 1000 ? 2 : 3))
            {
                await write;
                Assert.NotEmpty(cluster.Repairs.Recorded);
            }
            else
            {
                Assert.IsType<DriveUnavailableException>((await Assert.ThrowsAsync<WriteQuorumException>(() => write)).InnerException);
                Assert.Empty(cluster.Repairs.Recorded);
                await cluster.AssertIdleAsync(Stop);
                Assert.Equal(0, cluster.Fragments);
            }

            await cluster.AssertIdleAsync(Stop);
        }
    }

    [Fact]
    public async Task FullDrives_AreMissing_AndWhereAllAreFull_TheWriteSaysSo()
    {
        await using var cluster = new MemoryCluster(9);
        ExtentDescriptor descriptor = cluster.Describe();
        foreach (MemoryFragmentStore drive in cluster.Drives)
        {
            drive.Fault = (asked, _, _) => asked == FragmentOperation.Write ? ValueTask.FromException(new DriveFullException(drive.DriveId, 1, 2)) : default;
        }

        await Assert.ThrowsAsync<DriveFullException>(() => cluster.Store.WriteAsync(descriptor, cluster.Bytes(100), Stop).AsTask());
        await Assert.ThrowsAsync<DriveFullException>(() => cluster.Store.WriteAsync(descriptor, cluster.Bytes(500_000), Stop).AsTask());
        foreach (MemoryFragmentStore drive in cluster.Drives.Where(drive => drive != cluster.DriveOf(descriptor.PlacementGroup, 4)))
            drive.Fault = null;
        await cluster.Store.WriteAsync(descriptor, cluster.Bytes(500_000), Stop);
        Assert.Equal(new ShardSet(1 << 4), Assert.Single(cluster.Repairs.Recorded).Shards);
        Assert.Empty(cluster.Events.Unavailable);
    }

    [Fact]
    public async Task PoisonedVolume_IsTriedOnceMore()
    {
        await using var cluster = new MemoryCluster(9);
        ExtentDescriptor descriptor = cluster.Describe();
        int failures = 0;
        MemoryFragmentStore drive = cluster.DriveOf(descriptor.PlacementGroup, 2);
        drive.Fault = (asked, _, _) => asked == FragmentOperation.Write && failures++ == 0 ? ValueTask.FromException(new VolumePoisonedException(drive.DriveId, 1, null)) : default;
        await cluster.Store.WriteAsync(descriptor, cluster.Bytes(500_000), Stop);
        Assert.Empty(cluster.Repairs.Recorded);
        Assert.True(failures > 1);
    }

    [Theory]
    [InlineData(1000)]
    [InlineData(300_000)]
    [InlineData(3_000_000)]
    public async Task SlowDrive_DoesNotHoldUpAWrite_AndItsFragmentsArriveInTheEnd(int length)
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(length);
        ExtentDescriptor descriptor = cluster.Describe();
        MemoryFragmentStore slow = cluster.DriveOf(descriptor.PlacementGroup, 0);
        TaskCompletionSource hang = MemoryCluster.Hang(slow, FragmentOperation.Write);
        Task<ExtentLayout> write = cluster.Store.WriteAsync(descriptor, bytes, Stop).AsTask();
        Assert.False(write.IsCompleted);
        cluster.Time.Advance(cluster.Options.WriteLinger);
        ExtentLayout layout = await write;
        Assert.Equal(new ShardSet(1), Assert.Single(cluster.Repairs.Recorded).Shards);
        Assert.True(cluster.Store.Buffers.Lent > 0);
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(layout.BlockCount, slow.Count);
        foreach (MemoryFragmentStore other in cluster.Drives.Where(drive => drive.Count > 0).Skip(1).Take(2))
            other.Clear();
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
    }

    [Theory]
    [InlineData(100)]
    [InlineData(300_000)]
    public async Task DriveThatIsAlwaysSlow_IsNotTakenForTheUsual(int length)
    {
        await using var cluster = new MemoryCluster(9);
        MemoryFragmentStore slow = cluster.Drives[0];
        slow.Fault = (operation, _, _) => operation == FragmentOperation.Write ? new ValueTask(Task.Delay(TimeSpan.FromMilliseconds(100), cluster.Time, CancellationToken.None)) : default;
        for (int i = 0; i < 150; i++)
        {
            Task<ExtentLayout> write = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(length), Stop).AsTask();
            while (!write.IsCompleted)
            {
                cluster.Time.Advance(TimeSpan.FromMilliseconds(1));
                await Task.Yield();
            }

            await write;
        }

        Assert.InRange(cluster.Store.WriteLinger, TimeSpan.Zero, TimeSpan.FromMilliseconds(20));
        Assert.NotEmpty(cluster.Repairs.Recorded);
        cluster.Time.Advance(TimeSpan.FromSeconds(1));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task HangingDrive_IsPassedOver_HoldsBoundedMemory_AndIsUsedAgainWhenItAnswers()
    {
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, groups: 1, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 64 << 10, BlockSizeBytes = 64 << 10, DriveBacklogBytes = 1 << 20 });
        ExtentDescriptor first = cluster.Describe();
        MemoryFragmentStore hung = cluster.DriveOf(cluster.Describe().PlacementGroup, 0);
        TaskCompletionSource hang = MemoryCluster.Hang(hung, FragmentOperation.Write);
        for (int i = 0; i < 40; i++)
        {
            Task<ExtentLayout> write = cluster.Store.WriteAsync(i == 0 ? first : cluster.Describe(), cluster.Bytes(2_000_000), Stop).AsTask();
            while (!write.IsCompleted)
            {
                cluster.Time.Advance(TimeSpan.FromMilliseconds(5));
                await Task.Yield();
            }

            await write;
            Assert.InRange(cluster.Store.WriteBudget.TakenBytes, 1, (1 << 20) + (128 << 10));
        }

        Assert.Equal(40, cluster.Repairs.Recorded.Select(notice => notice.Extent).Distinct().Count());
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
        int before = cluster.Repairs.Recorded.Count;
        hung.Fault = null;
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(500_000), Stop);
        Assert.Equal(before, cluster.Repairs.Recorded.Count);
        Assert.Contains(hung.Keys, key => key.Extent == layout.Id);
    }

    [Fact]
    public async Task DriveThatHangs_ForSmallWrites_IsPassedOverByItsAge()
    {
        await using var cluster = new MemoryCluster(3, groups: 1);
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(cluster.Describe().PlacementGroup, 0), FragmentOperation.Write);
        Task<ExtentLayout> write = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(100), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        await write;
        Assert.True(cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(100), Stop).IsCompletedSuccessfully);
        Assert.Equal(1, cluster.Store.Buffers.Lent);
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    [Theory]
    [InlineData(100)]
    [InlineData(700_000)]
    public async Task DriveThatWasPassedOver_IsAskedAfterAll_WhereAnotherFailsAndTheQuorumNeedsIt(int length)
    {
        await using var cluster = new MemoryCluster(4, groups: 1, large: new Scheme(2, 2));
        ExtentDescriptor descriptor = cluster.Describe(scheme: length < 1000 ? Scheme.Copies(3) : null);
        (MemoryFragmentStore slow, MemoryFragmentStore failing) = (cluster.DriveOf(descriptor.PlacementGroup, 0), cluster.DriveOf(descriptor.PlacementGroup, 1));

        // The first write hangs there for so long that the drive is passed over; later ones would not.
        TaskCompletionSource hang = MemoryCluster.Hang(slow, FragmentOperation.Write);
        Task<ExtentLayout> first = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(length), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        await first;
        slow.Fault = null;
        byte[] bytes = cluster.Bytes(length);
        ExtentLayout layout;
        try
        {
            ExtentLayout passedOver = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
            Assert.DoesNotContain(slow.Keys, key => key.Extent == passedOver.Id);

            failing.Fault = (operation, _, _) => operation == FragmentOperation.Write ? ValueTask.FromException(new DriveFullException(failing.DriveId, 0, 1)) : default;
            layout = await cluster.Store.WriteAsync(descriptor, bytes, Stop);
            Assert.Equal(layout.BlockCount, slow.Keys.Count(key => key.Extent == layout.Id));
            Assert.Equal(new ShardSet(0b10), cluster.Repairs.Recorded.Single(notice => notice.Extent == layout.Id).Shards);
        }
        finally
        {
            hang.SetResult();
        }

        failing.Fault = null;
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
    }

    /// <summary>Shard 0 is passed over, 1 is on its way, 3 is written; the sync of 2 fails, and where there is a shard 4, its write after that.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public async Task DriveThatWasPassedOver_IsAskedAfterAll_WhereASyncFailsAndTheQuorumNeedsIt(int parity)
    {
        await using var cluster = new MemoryCluster(2 + parity, groups: 1, large: new Scheme(2, parity));
        ExtentDescriptor descriptor = cluster.Describe();
        MemoryFragmentStore[] drives = [.. Enumerable.Range(0, 2 + parity).Select(shard => cluster.DriveOf(descriptor.PlacementGroup, shard))];
        TaskCompletionSource slow = MemoryCluster.Hang(drives[0], FragmentOperation.Write);
        Task<ExtentLayout> first = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(200_000), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        await first;
        drives[0].Fault = null;

        TaskCompletionSource pending = MemoryCluster.Hang(drives[1], FragmentOperation.Write);
        var synced = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        drives[2].Fault = (operation, _, _) => operation == FragmentOperation.Sync ? new ValueTask(synced.Task) : default;
        TaskCompletionSource? failing = parity == 3 ? MemoryCluster.Hang(drives[4], FragmentOperation.Write) : null;
        byte[] bytes = cluster.Bytes(200_000);
        Task<ExtentLayout> write = cluster.Store.WriteAsync(descriptor, bytes, Stop).AsTask();
        Assert.False(write.IsCompleted);
        synced.SetException(new DriveUnavailableException(drives[2].DriveId, "injected"));
        while (!cluster.Events.Unavailable.Contains(drives[2].DriveId))
            await Task.Yield();
        failing?.SetException(new DriveUnavailableException(drives[4].DriveId, "injected"));
        while (!drives[0].Keys.Any(key => key.Extent == descriptor.Id) && !write.IsCompleted)
        {
            Stop.ThrowIfCancellationRequested();
            cluster.Time.Advance(TimeSpan.FromMilliseconds(1)); // the answer that does not come ends in the write's time-out
            await Task.Yield();
        }

        pending.SetResult();
        ExtentLayout layout = await write;
        Assert.Equal(new ShardSet(parity == 3 ? 0b10100UL : 0b100), Assert.Single(cluster.Repairs.Recorded, notice => notice.Extent == layout.Id).Shards);
        slow.SetResult();
        foreach (MemoryFragmentStore drive in drives)
            drive.Fault = null;
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
    }

    [Fact]
    public async Task DriveThatWasPassedOver_AndHangs_KeepsNothingOfWritesThatFailOrAreAbandoned()
    {
        await using var cluster = new MemoryCluster(4, groups: 1, large: new Scheme(2, 2));
        ExtentDescriptor descriptor = cluster.Describe();
        MemoryFragmentStore slow = cluster.DriveOf(descriptor.PlacementGroup, 0);
        TaskCompletionSource hang = MemoryCluster.Hang(slow, FragmentOperation.Write);
        Task<ExtentLayout> first = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(700_000), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        await first;

        // Kept for it, and not asked.
        using var cancellation = new CancellationTokenSource();
        TaskCompletionSource other = MemoryCluster.Hang(cluster.DriveOf(descriptor.PlacementGroup, 1), FragmentOperation.Write);
        ExtentDescriptor abandoned = cluster.Describe();
        Task<ExtentLayout> write = cluster.Store.WriteAsync(abandoned, cluster.Bytes(700_000), cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => write);
        other.SetResult();

        // Asked, in vain.
        foreach (int shard in (int[])[1, 2])
        {
            MemoryFragmentStore failing = cluster.DriveOf(descriptor.PlacementGroup, shard);
            failing.Fault = (operation, _, _) => operation == FragmentOperation.Write ? ValueTask.FromException(new DriveFullException(failing.DriveId, 0, 1)) : default;
        }

        await Assert.ThrowsAnyAsync<StorageException>(() => cluster.Store.WriteAsync(descriptor, cluster.Bytes(700_000), Stop).AsTask());
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
        Assert.DoesNotContain(cluster.Drives.SelectMany(drive => drive.Keys), key => key.Extent == descriptor.Id || key.Extent == abandoned.Id);
    }

    [Fact]
    public async Task WritersBeyondTheBound_Wait_ButOneCanAlwaysFinish()
    {
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 256 << 10, WriteBufferBytes = 2 << 20 });
        byte[] bytes = cluster.Bytes(6 * (256 << 10));
        IExtentWriter[] writers = [.. Enumerable.Range(0, 6).Select(_ => cluster.Store.CreateExtent(cluster.Describe()))];

        // Each receives a shard at a time, all at once.
        Task<ExtentLayout>[] writes = [.. writers.Select(async writer =>
        {
            for (int done = 0; done < bytes.Length; done += 256 << 10)
            {
                await Task.Yield();
                await cluster.AppendAsync(writer, bytes.AsMemory(done, 256 << 10), Stop);
            }

            return await writer.CompleteAsync(Stop);
        })];
        foreach (ExtentLayout layout in await Task.WhenAll(writes))
            Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        foreach (IExtentWriter writer in writers)
            await writer.DisposeAsync();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task SlowClient_HoldsOneShard()
    {
        await using var cluster = new MemoryCluster(9);
        await using IExtentWriter writer = cluster.Store.CreateExtent(cluster.Describe());
        await cluster.AppendAsync(writer, new byte[10], Stop);
        Assert.Equal(64 << 10, cluster.Store.WriteBudget.TakenBytes);
    }

    [Fact]
    public async Task Abandoned_AtAnyPoint_AnExtentLeavesNeitherFragmentsNorBuffers()
    {
        for (int step = 0; step < 60; step++)
        {
            await using var cluster = new MemoryCluster(9, seed: step + 1);
            byte[] bytes = cluster.Bytes(2_000_000);
            using var cancellation = new CancellationTokenSource();
            int operations = 0;
            foreach (MemoryFragmentStore drive in cluster.Drives)
            {
                drive.Fault = (operation, _, _) =>
                {
                    if (operation != FragmentOperation.Delete && Interlocked.Increment(ref operations) == step)
                        cancellation.Cancel();
                    return default;
                };
            }

            ExtentDescriptor descriptor = cluster.Describe();
            IExtentWriter writer = cluster.Store.CreateExtent(descriptor, cluster.Random.Next(2) == 0 ? bytes.Length : null);
            try
            {
                await cluster.AppendAsync(writer, bytes, cancellation.Token);
                if (step % 7 != 0)
                    await writer.CompleteAsync(cancellation.Token);
            }
            catch (OperationCanceledException)
            {
            }

            bool completed = !cancellation.IsCancellationRequested && step % 7 != 0;
            await writer.DisposeAsync();
            await cluster.AssertIdleAsync(Stop);
            if (!completed && cluster.Fragments > 0)
            {
                // Cancelled in the very last operations the extent may have been completed nevertheless; then it is whole.
                Assert.True(operations > step && cluster.Fragments == 9 * 6, $"step {step}: {cluster.Fragments}");
            }
        }
    }

    [Fact]
    public async Task Abandoned_WhileWritesHang_FragmentsAreDeletedWhenTheyArrive()
    {
        await using var cluster = new MemoryCluster(9);
        TaskCompletionSource[] hanging = [.. cluster.Drives.Select(drive => MemoryCluster.Hang(drive, FragmentOperation.Write))];
        using var cancellation = new CancellationTokenSource();
        Task<ExtentLayout> large = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(1_000_000), cancellation.Token).AsTask();
        Task<ExtentLayout> small = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(1_000), cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => small);
        Assert.True(cluster.Store.Buffers.Lent > 0);
        foreach (TaskCompletionSource hang in hanging)
            hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(0, cluster.Fragments);
    }

    [Fact]
    public async Task HangingBelowTheQuorum_EndsAfterTheTimeout()
    {
        await using var cluster = new MemoryCluster(3);
        TaskCompletionSource[] hanging = [.. cluster.Drives.Take(2).Select(drive => MemoryCluster.Hang(drive, FragmentOperation.Write))];
        Task<ExtentLayout> write = cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(1_000), Stop).AsTask();
        cluster.Time.Advance(cluster.Options.WriteTimeout);
        Assert.IsType<TimeoutException>((await Assert.ThrowsAsync<WriteQuorumException>(() => write)).InnerException);
        foreach (TaskCompletionSource hang in hanging)
            hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
        Assert.Equal(0, cluster.Fragments);
    }

    [Fact]
    public async Task SlotsWithoutADrive_CountAsMissing()
    {
        await using var cluster = new MemoryCluster(9);
        cluster.Change((_, number, slot) => number == 3 ? new GroupSlot(null, ImmutableArray<Guid>.Empty, IsComplete: false) : slot);
        byte[] bytes = cluster.Bytes(1_000_000);
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        Assert.Equal(new ShardSet(1 << 3), Assert.Single(cluster.Repairs.Recorded).Shards);
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        await cluster.Store.DeleteAsync(layout, Stop);
        Assert.Equal(0, cluster.Fragments);
    }

    [Fact]
    public async Task MapThatMovesASlotDuringAWrite_HasTheSlotRecorded()
    {
        await using var cluster = new MemoryCluster(10);
        byte[] bytes = cluster.Bytes(1_000_000);
        ExtentDescriptor descriptor = cluster.Describe();
        await using IExtentWriter writer = cluster.Store.CreateExtent(descriptor, bytes.Length);
        await cluster.AppendAsync(writer, bytes, Stop);
        cluster.Change((group, number, slot) => number == 2
            ? new GroupSlot(cluster.Drives.First(drive => cluster.Map.SlotsOf(new PlacementGroupId(group)).All(other => other.Drive != drive.DriveId)).DriveId, [slot.Drive!.Value], IsComplete: false)
            : slot);
        ExtentLayout layout = await writer.CompleteAsync(Stop);
        Assert.Equal(new ShardSet(1 << 2), Assert.Single(cluster.Repairs.Recorded).Shards);
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
    }

    /// <summary>The pass that fills the slots may be over before what was written is synced, which is when it is listed: nobody looks for it on the former drives then.</summary>
    [Theory]
    [InlineData(2, false, true)]
    [InlineData(3, false, false)]
    [InlineData(9, false, false)]
    [InlineData(3, true, true)]
    [InlineData(4, true, false)]
    public async Task MapThatMovesMoreSlotsDuringAWriteThanTheQuorumCanSpare_RefusesIt(int moved, bool areSources, bool isTaken)
    {
        await using var cluster = new MemoryCluster(18);
        byte[] bytes = cluster.Bytes(1_000_000);
        await using IExtentWriter writer = cluster.Store.CreateExtent(cluster.Describe(), bytes.Length);
        await cluster.AppendAsync(writer, bytes, Stop);
        cluster.Change((group, number, slot) =>
        {
            Guid[] free = [.. cluster.Drives.Select(drive => drive.DriveId).Except(cluster.Map.SlotsOf(new PlacementGroupId(group)).Select(other => other.Drive!.Value))];
            return number < moved ? new GroupSlot(free[number % free.Length], areSources ? [slot.Drive!.Value] : [], IsComplete: !areSources) : slot;
        });
        if (isTaken)
        {
            ExtentLayout layout = await writer.CompleteAsync(Stop);
            Assert.Equal(moved, Assert.Single(cluster.Repairs.Recorded).Shards.Count);
            Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        }
        else
        {
            await Assert.ThrowsAsync<WriteQuorumException>(() => writer.CompleteAsync(Stop).AsTask());
            Assert.Empty(cluster.Repairs.Recorded);
        }
    }

    [Fact]
    public async Task Map_WithALowerEpoch_IsIgnored()
    {
        await using var cluster = new MemoryCluster(3);
        cluster.Change((_, _, slot) => slot);
        IClusterMap current = cluster.Store.ClusterMap;
        cluster.Store.UpdateMap(cluster.Plan(1, 8));
        Assert.Same(current, cluster.Store.ClusterMap);
    }

    [Fact]
    public async Task Delete_WhereADriveDoesNotAnswer_Throws_UnlessTheDriveIsOut()
    {
        await using var cluster = new MemoryCluster(9);
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), cluster.Bytes(1_000_000), Stop);
        MemoryFragmentStore gone = cluster.DriveOf(layout.PlacementGroup, 5);
        cluster.Directory.Remove(gone.DriveId);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => cluster.Store.DeleteAsync(layout, Stop).AsTask());
        cluster.Change((_, _, slot) => slot, [.. cluster.Drives.Select(drive => new MappedDrive(drive.DriveId, 0, MemoryCluster.Domain, IsReadable: drive != gone))]);
        await cluster.Store.DeleteAsync(layout, Stop);
        Assert.Equal(gone.Count, cluster.Fragments);
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 1), FragmentOperation.Delete);
        Task delete = cluster.Store.DeleteAsync(layout, Stop).AsTask();
        cluster.Time.Advance(cluster.Options.WriteTimeout);
        await Assert.ThrowsAsync<DriveUnavailableException>(() => delete);
        hang.SetResult();
    }
}
