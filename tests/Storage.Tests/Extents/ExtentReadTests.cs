using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;
using ObjectStore.Storage.Simulation;

namespace ObjectStore.Storage.Tests.Extents;

public sealed class ExtentReadTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public static TheoryData<int, int> Schemes => new() { { 1, 0 }, { 1, 2 }, { 2, 1 }, { 2, 2 }, { 4, 2 }, { 6, 3 }, { 17, 3 } };

    private static bool Same(byte[] expected, byte[] actual) => expected.AsSpan().SequenceEqual(actual);

    [Theory]
    [MemberData(nameof(Schemes))]
    public async Task Extents_OfEveryAwkwardLength_ReadBackInEveryRange(int k, int m)
    {
        var scheme = new Scheme(k, m);
        await using var cluster = new MemoryCluster(scheme.Width + 2, large: scheme);
        int block = cluster.Store.BlockSizeOf(scheme);
        int shard = block / k;
        int[] lengths = [0, 1, 63, 64, 65, 4095, 4096, 65535, 65536, 65537, 131071, 131072, 131073, shard - 1, shard, shard + 1, block - 1, block, block + 1, (2 * block) - 1, 2 * block, (2 * block) + 1, (2 * block) + shard + 7];
        foreach (int length in lengths)
        {
            byte[] bytes = cluster.Bytes(length);
            long? wrong = cluster.Random.Next(3 * block);
            foreach (long? expected in (long?[])[length, null, wrong])
            {
                ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, expected, Stop);
                Assert.True(layout.LengthBytes == length && Scheme.TryFromId(layout.SchemeId, out Scheme used), $"{length}, expected {expected}");
                for (int i = 0; i < 6; i++)
                {
                    int offset = i == 0 ? 0 : cluster.Random.Next(length + 1);
                    int count = i == 0 ? length : cluster.Random.Next(length - offset + 1);
                    Assert.True(Same(bytes[offset..(offset + count)], await cluster.ReadAsync(layout, offset, count, Stop, i)), $"{length}, expected {expected}, {offset} + {count}");
                }

                await cluster.Store.DeleteAsync(layout, Stop);
                Assert.Equal(0, cluster.Fragments);
            }

            ExtentLayout whole = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
            Assert.Equal(length < 128 << 10 ? Scheme.Copies(3).Narrow(scheme.Width + 2).Id : scheme.Id, whole.SchemeId);
            Assert.Equal(bytes, await cluster.ReadAsync(whole, Stop));
            await cluster.Store.DeleteAsync(whole, Stop);
        }

        Assert.Empty(cluster.Repairs.Recorded);
        Assert.Empty(cluster.Repairs.Reported);
        await cluster.AssertIdleAsync(Stop);
    }

    [Theory]
    [InlineData(1, 2)]
    [InlineData(2, 2)]
    [InlineData(4, 2)]
    [InlineData(6, 3)]
    public async Task AnyLossOfUpToParity_ReadsIdentical_AndOneMoreIsLost(int k, int m)
    {
        var scheme = new Scheme(k, m);
        await using var cluster = new MemoryCluster(scheme.Width, seed: k, large: scheme, options: MemoryCluster.Settings(scheme, scheme));
        int block = cluster.Store.BlockSizeOf(scheme);
        byte[] bytes = cluster.Bytes((2 * block) + (block / 3) + 5);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        for (ulong lost = 0; lost < 1UL << scheme.Width; lost++)
        {
            var shards = new ShardSet(lost);
            if (shards.Count > m + 1)
                continue;
            foreach (int shard in ShardSet.All(scheme.Width))
                cluster.DriveOf(layout.PlacementGroup, shard).Fault = shards.Contains(shard) ? (_, key, _) => ValueTask.FromException(new FragmentMissingException(key!.Value.Extent, key.Value.Block, key.Value.Shard)) : null;
            if (shards.Count > m)
            {
                await Assert.ThrowsAsync<ExtentLostException>(() => cluster.ReadAsync(layout, Stop));
                continue;
            }

            Assert.True(Same(bytes, await cluster.ReadAsync(layout, Stop)), $"lost {shards}");
            int offset = cluster.Random.Next(bytes.Length);
            int count = cluster.Random.Next(bytes.Length - offset);
            Assert.True(Same(bytes[offset..(offset + count)], await cluster.ReadAsync(layout, offset, count, Stop, (int)(lost % 3))), $"lost {shards}, {offset} + {count}");
        }

        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task DamagedByte_OfAnyFragment_IsNeverHandedOut_AndIsReported()
    {
        for (int seed = 1; seed <= 120; seed++)
        {
            Scheme[] schemes = [Scheme.Copies(3), new(2, 1), new(6, 3), new(4, 2)];
            Scheme scheme = schemes[seed % schemes.Length];
            await using var cluster = new MemoryCluster(scheme.Width + 1, seed, large: scheme, options: MemoryCluster.Settings(scheme, scheme));
            int block = cluster.Store.BlockSizeOf(scheme);
            byte[] bytes = cluster.Bytes(cluster.Random.Next(1, 3 * block));
            ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, cluster.Random.Next(2) == 0 ? bytes.Length : null, Stop);
            int damagedBlock = cluster.Random.Next(layout.BlockCount);
            int[] shards = [.. Enumerable.Range(0, scheme.Width).OrderBy(_ => cluster.Random.Next()).Take(cluster.Random.Next(1, scheme.ParityShards + 1))];
            foreach (int shard in shards)
                Assert.True(cluster.DriveOf(layout.PlacementGroup, shard).Corrupt(new FragmentKey(layout.Id, damagedBlock, (ushort)shard), cluster.Random.Next(1 << 20)));
            for (int way = 0; way < 3; way++)
                Assert.True(Same(bytes, await cluster.ReadAsync(layout, 0, bytes.Length, Stop, way)), $"seed {seed}, {scheme}, way {way}");

            // A data shard is read, so its damage is met, unless the damage is in the padding's chunk behind all data; the first copy likewise.
            int dataBytes = (int)Math.Min(block, layout.LengthBytes - ((long)damagedBlock * block));
            int shardBytes = scheme.ShardBytes(dataBytes);
            if (shards.Any(shard => shard < scheme.DataShards && shard * shardBytes < dataBytes && shardBytes <= 65536))
            {
                RepairNotice notice = Assert.Single(cluster.Repairs.Reported.DistinctBy(item => (item.FirstBlock, item.Shards)));
                Assert.Equal((layout.Id, damagedBlock, 1, RepairReason.CorruptOnRead), (notice.Extent, notice.FirstBlock, notice.BlockCount, notice.Reason));
                Assert.True(notice.Shards.Count > 0 && (notice.Shards.Bits & ~shards.Aggregate(0UL, (bits, shard) => bits | 1UL << shard)) == 0, $"seed {seed}");
                Assert.NotEmpty(cluster.Events.Reconstructed);
            }

            await cluster.AssertIdleAsync(Stop);
        }
    }

    [Fact]
    public async Task TooFewShards_WhereSomeDrivesDoNotAnswer_IsUnavailable_NotLost_AndNothingIsReported()
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(1 << 20);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, null, Stop);
        for (int shard = 0; shard < 3; shard++)
            MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, shard));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.Empty(cluster.Repairs.Reported);
        Assert.NotEmpty(cluster.Events.Reconstructed);
        MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, 8));
        await Assert.ThrowsAsync<ExtentUnavailableException>(() => cluster.ReadAsync(layout, Stop));

        // Lost on the others as well: still not known to be lost.
        for (int shard = 3; shard < 8; shard++)
            cluster.DriveOf(layout.PlacementGroup, shard).Clear();
        await Assert.ThrowsAsync<ExtentUnavailableException>(() => cluster.ReadAsync(layout, Stop));
        Assert.Equal(4, cluster.Events.Unavailable.Distinct().Count());
        foreach (MemoryFragmentStore drive in cluster.Drives)
            (drive.Fault, _) = (null, drive);
        cluster.Time.Advance(cluster.Options.DriveProbeInterval);
        await Assert.ThrowsAsync<ExtentLostException>(() => cluster.ReadAsync(layout, Stop));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task BlockThatIsLost_SaysSo_AlsoWhileADriveIsStillAsked()
    {
        await using var cluster = new MemoryCluster(3, large: new Scheme(2, 1));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), cluster.Bytes(128 << 10), null, Stop);
        cluster.DriveOf(layout.PlacementGroup, 0).Clear();
        cluster.DriveOf(layout.PlacementGroup, 1).Clear();

        // The parity is being read, for the first shard is missing, when the second turns out to be missing too.
        TaskCompletionSource second = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 1), FragmentOperation.Read), parity = new(), asked = new();
        cluster.DriveOf(layout.PlacementGroup, 2).Fault = (operation, _, _) =>
        {
            if (operation != FragmentOperation.Read)
                return default;
            asked.TrySetResult();
            return new ValueTask(parity.Task);
        };
        Task<byte[]> reading = cluster.ReadAsync(layout, Stop);
        try
        {
            await asked.Task.WaitAsync(TimeSpan.FromSeconds(20), Stop);
            second.SetResult();
            await Assert.ThrowsAsync<ExtentLostException>(() => reading.WaitAsync(TimeSpan.FromSeconds(20), Stop));
        }
        finally
        {
            // Or nothing could be closed.
            second.TrySetResult();
            parity.SetResult();
        }

        await cluster.AssertIdleAsync(Stop);
    }

    [Theory]
    [InlineData(1, 2)]
    [InlineData(6, 3)]
    public async Task SlowDrive_IsHedged_AndItsBufferComesBackOnlyWhenItIsDone(int k, int m)
    {
        var scheme = new Scheme(k, m);
        await using var cluster = new MemoryCluster(scheme.Width, options: MemoryCluster.Settings(scheme, scheme));
        byte[] bytes = cluster.Bytes(cluster.Store.BlockSizeOf(scheme));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 0), FragmentOperation.Read);
        Task<byte[]> read = cluster.ReadAsync(layout, Stop);
        Assert.False(read.IsCompleted);
        cluster.Time.Advance(cluster.Options.HedgeFloor - TimeSpan.FromMilliseconds(2));
        await Task.Yield();
        Assert.False(read.IsCompleted);
        cluster.Time.Advance(TimeSpan.FromMilliseconds(3));
        Assert.Equal(bytes, await read);
        Assert.Equal(1, cluster.Store.Buffers.Lent);
        Assert.Empty(cluster.Repairs.Reported);

        // From now on it counts as hanging, and is not waited for at all.
        cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task DriveThatHangs_AndWhoseReadsEndWhenTheyAreGivenUp_IsWaitedForOnlyUntilItCountsAsHanging_AndUsedAgainWhenItAnswers()
    {
        var scheme = new Scheme(6, 3);
        await using var cluster = new MemoryCluster(scheme.Width, options: MemoryCluster.Settings(scheme, scheme));
        byte[] bytes = cluster.Bytes(cluster.Store.BlockSizeOf(scheme));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        MemoryFragmentStore hung = cluster.DriveOf(layout.PlacementGroup, 0);
        int asked = 0;
        hung.Fault = (operation, _, givenUp) =>
        {
            if (operation != FragmentOperation.Read)
                return default;
            asked += givenUp.CanBeCanceled ? 1 : 0; // without, it is only asked for what it has in memory
            return new ValueTask(Task.Delay(Timeout.Infinite, givenUp));
        };
        for (int i = 1; i <= 2; i++)
        {
            Task<byte[]> read = cluster.ReadAsync(layout, Stop);
            Assert.False(read.IsCompleted);
            cluster.Time.Advance(cluster.Options.HedgeFloor + TimeSpan.FromMilliseconds(1));
            Assert.Equal(bytes, await read);
            await cluster.AssertIdleAsync(Stop);
            Assert.Equal(i, asked);
            if (i == 1)
                cluster.Time.Advance(cluster.Options.SlowDriveAfter);
        }

        // The clock stands still: nothing is waited for.
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop).WaitAsync(TimeSpan.FromSeconds(20), Stop));
        Assert.Equal(2, asked);
        hung.Fault = (operation, _, _) =>
        {
            asked += operation == FragmentOperation.Read ? 1 : 0;
            return default;
        };
        cluster.Time.Advance(cluster.Options.DriveProbeInterval);
        for (int i = 0; i < 3; i++)
        {
            int before = asked;
            Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
            Assert.True(asked > before);
        }

        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task ReadsWithoutADrive_TakeTurns_WithinTheRoomForWhatTheyReadInItsPlace()
    {
        StorageOptions settings = MemoryCluster.Settings();
        var options = new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 64 << 10, BlockSizeBytes = 128 << 10, SubstituteBufferBytes = 5 * (64 << 10) };
        await using var cluster = new MemoryCluster(9, groups: 1, options: options);
        byte[] bytes = cluster.Bytes(6 * (64 << 10));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, 2));
        long pool = cluster.Store.Buffers.For(64 << 10).BufferBytes;
        TaskCompletionSource gate = new(TaskCreationOptions.RunContinuationsAsynchronously), first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int asked = 0, most = 0, inside = 0;
        for (int shard = 6; shard < 9; shard++)
        {
            cluster.DriveOf(layout.PlacementGroup, shard).Fault = async (operation, _, givenUp) =>
            {
                if (operation != FragmentOperation.Read || !givenUp.CanBeCanceled)
                    return;
                Interlocked.Increment(ref asked);
                int now = Interlocked.Increment(ref inside);
                most = Math.Max(most, now);
                first.TrySetResult();
                await gate.Task;
                Interlocked.Decrement(ref inside);
            };
        }

        Task<byte[]>[] reads = [.. Enumerable.Range(0, 20).Select(_ => cluster.ReadAsync(layout, Stop))];

        // Each needs three shards beside those that it reads of itself, a parity among them, and a buffer for what is computed: there is room for one of them at a time.
        try
        {
            await first.Task.WaitAsync(TimeSpan.FromSeconds(20), Stop);
            Assert.InRange(cluster.Store.SubstituteBudget.TakenBytes, pool, 5 * pool);
        }
        finally
        {
            gate.SetResult();
        }

        foreach (Task<byte[]> read in reads)
            Assert.Equal(bytes, await read.WaitAsync(TimeSpan.FromSeconds(20), Stop));
        Assert.Equal(20, asked);
        Assert.Equal(1, most);
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task LateRead_IsWaitedFor_WhileThereIsNoRoomToHedgeIt()
    {
        StorageOptions settings = MemoryCluster.Settings();
        var options = new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 64 << 10, BlockSizeBytes = 128 << 10, SubstituteBufferBytes = 64 << 10 };
        await using var cluster = new MemoryCluster(9, groups: 1, options: options);
        byte[] bytes = cluster.Bytes(6 * (64 << 10));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 0), FragmentOperation.Read);
        Assert.True(cluster.Store.SubstituteBudget.TryTake(1));
        Task<byte[]> late = cluster.ReadAsync(layout, Stop), answered = cluster.ReadAsync(layout, Stop);
        using CancellationTokenSource limit = new(TimeSpan.FromSeconds(20));
        bool wereHedged = false, wereRead = false;
        for (int looks = 0; !wereRead && !limit.IsCancellationRequested;)
        {
            // Only to when something looks again: a drive that is busy has more time than the loop has turns.
            if (cluster.Time.UntilNext is { } next && next < TimeSpan.FromSeconds(1))
            {
                if (++looks == 100)
                {
                    wereHedged = late.IsCompleted || answered.IsCompleted;
                    cluster.Store.SubstituteBudget.Release(1);
                }

                cluster.Time.Advance(next > TimeSpan.Zero ? next : TimeSpan.FromMilliseconds(1));
            }

            await Task.Yield();
            wereRead = looks >= 100 && late.IsCompletedSuccessfully && answered.IsCompletedSuccessfully;

            // Whoever has got the room needs no more of that time, while the other one, which looks again and again, must not run out of it.
            if (looks >= 100 && !wereRead)
                await Task.WhenAny([Task.Delay(TimeSpan.FromMilliseconds(30), Stop), .. new[] { late, answered }.Where(read => !read.IsCompleted)]);
        }

        hang.SetResult();
        Assert.Equal((false, true), (wereHedged, wereRead));
        Assert.Equal(bytes, await late);
        Assert.Equal(bytes, await answered);
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task DriveThatAnswersAgain_IsUsedAgain_AlsoWhereOnlySmallObjectsAreRead()
    {
        await using var cluster = new MemoryCluster(3);
        byte[] bytes = cluster.Bytes(1000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        foreach (MemoryFragmentStore drive in cluster.Drives)
            MemoryCluster.Disconnect(drive);
        await Assert.ThrowsAsync<ExtentUnavailableException>(() => cluster.ReadAsync(layout, Stop));
        int asked = 0;
        foreach (MemoryFragmentStore drive in cluster.Drives)
        {
            // Nothing is in memory.
            drive.Fault = async (operation, _, givenUp) =>
            {
                if (operation != FragmentOperation.Read)
                    return;
                if (!givenUp.CanBeCanceled)
                    await Task.Delay(Timeout.Infinite, Stop);
                else if (drive == cluster.DriveOf(layout.PlacementGroup, 0))
                    asked++;
            };
        }

        cluster.Time.Advance(cluster.Options.DriveProbeInterval);
        for (int i = 1; i <= 3; i++)
        {
            var destination = new byte[1000];
            Assert.False(cluster.Store.TryReadSmall(layout, destination));
            Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
            Assert.Equal(i, asked);
        }

        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task HangingDrives_BeyondParity_EndAsUnavailableAfterTheTimeout()
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(300_000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, null, Stop);
        TaskCompletionSource[] hanging = [.. Enumerable.Range(0, 4).Select(shard => MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, shard), FragmentOperation.Read))];
        Task<byte[]> read = cluster.ReadAsync(layout, Stop);
        while (!read.IsCompleted)
        {
            cluster.Time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        await Assert.ThrowsAsync<ExtentUnavailableException>(() => read);
        foreach (TaskCompletionSource hang in hanging)
            hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task RangeOfOneChunk_ReadsThatChunkOnly()
    {
        await using var cluster = new MemoryCluster(9, options: MemoryCluster.Settings(shardSizeBytes: 256 << 10));
        byte[] bytes = cluster.Bytes(3 << 20);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        int reads = 0;
        foreach (MemoryFragmentStore drive in cluster.Drives)
        {
            drive.Fault = (operation, _, _) =>
            {
                Interlocked.Increment(ref reads);
                return default;
            };
        }

        Assert.Equal(bytes[2_000_000..2_000_100], await cluster.ReadAsync(layout, 2_000_000, 100, Stop, 2));
        Assert.Equal(1, reads);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4)]
    public async Task RangeAcrossTwoShards_CostsNoWholeShards_WhereOneIsMissing(int lost)
    {
        const int ShardBytes = 512 << 10, Chunk = 64 << 10;
        await using var cluster = new MemoryCluster(9, options: MemoryCluster.Settings(shardSizeBytes: ShardBytes));
        byte[] bytes = cluster.Bytes(6 * ShardBytes);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        foreach (MemoryFragmentStore drive in cluster.Drives.Where(drive => drive.Keys.Single().Shard == lost))
            drive.Clear();
        Assert.Equal(bytes[(ShardBytes - 100)..(ShardBytes + 100)], await cluster.ReadAsync(layout, ShardBytes - 100, 200, Stop, 2));
        Assert.InRange(cluster.Drives.Sum(drive => drive.BytesRead), 2 * Chunk, (lost < 2 ? 7 : 2) * Chunk); // of the lost one k, of the other itself

        // All of both is one load again: k shards do for them, beside one that was read before another turned out to be missing.
        long before = cluster.Drives.Sum(drive => drive.BytesRead);
        Assert.Equal(bytes[..(2 * ShardBytes)], await cluster.ReadAsync(layout, 0, 2 * ShardBytes, Stop, 2));
        Assert.InRange(cluster.Drives.Sum(drive => drive.BytesRead) - before, 2 * ShardBytes, (lost < 2 ? 7 : 2) * ShardBytes);
        Assert.Equal(lost < 2, cluster.Events.Reconstructed.Any());
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task RangeAcrossTwoShards_OfWhichOneCannotBeHad_FailsAndLeavesNothingBehind()
    {
        const int ShardBytes = 512 << 10;
        await using var cluster = new MemoryCluster(9, options: MemoryCluster.Settings(shardSizeBytes: ShardBytes));
        byte[] bytes = cluster.Bytes(6 * ShardBytes);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        foreach (MemoryFragmentStore drive in cluster.Drives.Where(drive => drive.Keys.Any(key => key.Shard is 1 or 2 or 3 or 4)))
            drive.Clear();
        await Assert.ThrowsAsync<ExtentLostException>(() => cluster.ReadAsync(layout, ShardBytes - 100, 200, Stop));
        Assert.Equal(0b11110UL, cluster.Repairs.Reported.Aggregate(0UL, (shards, notice) => shards | notice.Shards.Bits));
        Assert.Equal(bytes[(ShardBytes - 200)..ShardBytes], await cluster.ReadAsync(layout, ShardBytes - 200, 200, Stop));
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task Cancelled_OrDisposedMeanwhile_AReaderLeavesNothingBehind()
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(2 << 20);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        TaskCompletionSource[] hanging = [.. cluster.Drives.Select(drive => MemoryCluster.Hang(drive, FragmentOperation.Read))];
        using var cancellation = new CancellationTokenSource();
        IExtentReader reader = cluster.Store.OpenRead(layout, 0, layout.LengthBytes);
        Task<ReadOnlyMemory<byte>> read = reader.ReadNextAsync(cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        await reader.DisposeAsync();
        Assert.True(cluster.Store.Buffers.Lent > 0);
        foreach (TaskCompletionSource hang in hanging)
            hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task MapThatChangesDuringARead_IsFollowed_AndSourcesAreReadWhileASlotIsFilled()
    {
        await using var cluster = new MemoryCluster(9);
        byte[] bytes = cluster.Bytes(3 << 20);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        await using IExtentReader reader = cluster.Store.OpenRead(layout, 0, bytes.Length);
        var read = new MemoryStream();
        read.Write((await reader.ReadNextAsync(Stop)).Span);

        // Every slot moves to a new, empty drive; the old ones stay as sources.
        List<MemoryFragmentStore> old = [.. cluster.Drives];
        for (int i = 0; i < 9; i++)
        {
            cluster.Drives.Add(cluster.NewDrive(100 + i));
            cluster.Directory.Set(cluster.Drives[^1]);
        }

        cluster.Change((_, number, slot) => new GroupSlot(cluster.Drives[9 + number].DriveId, [slot.Drive!.Value], IsComplete: false));
        while (await reader.ReadNextAsync(Stop) is { IsEmpty: false } piece)
            read.Write(piece.Span);
        Assert.Equal(bytes, read.ToArray());
        Assert.Empty(cluster.Repairs.Reported);

        // A shard that is on neither is rebuilt, without noise.
        old.Single(drive => drive.Keys.Any(key => key.Extent == layout.Id && key.Shard == 0)).Clear();
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.Empty(cluster.Repairs.Reported);
        Assert.NotEmpty(cluster.Events.Reconstructed);
        await cluster.Store.DeleteAsync(layout, Stop);
        Assert.Equal(0, cluster.Fragments);
    }

    [Theory]
    [InlineData(4096, false)]
    [InlineData(4096, true)]
    [InlineData(100_000, false)]
    [InlineData(100_000, true)]
    public async Task Copies_AreNotReadFromADriveThatIsBeingFilled_WhileOthersAreWhole(int length, bool blocking)
    {
        await using var cluster = new MemoryCluster(3, groups: 1);
        byte[] bytes = cluster.Bytes(length);
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        Assert.True(Scheme.TryFromId(layout.SchemeId, out Scheme scheme) && scheme.IsReplicated);
        (_, MemoryFragmentStore filled) = MoveFirstSlot(cluster, isLost: true);
        filled.Fault = (_, _, _) => throw new InvalidOperationException("It was asked.");
        foreach (MemoryFragmentStore drive in cluster.Drives.Where(drive => blocking && drive != filled))
            drive.Fault = async (_, _, _) => await Task.Yield();
        var read = new byte[length];
        if (!blocking) // else it may be over before it is looked at
            Assert.Equal(length <= 65_536, cluster.Store.TryReadSmall(layout, read));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.Empty(cluster.Events.Reconstructed);
    }

    [Fact]
    public async Task DamageOnAFormerDrive_IsOfNoInterest_OnceTheNewDriveHasTheFragment()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        byte[] bytes = cluster.Bytes(300_000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        (MemoryFragmentStore former, MemoryFragmentStore filled) = MoveFirstSlot(cluster);
        BlockRepairResult moved = await cluster.Store.Repairer.RepairAsync(new BlockRepair(layout.Id, layout.PlacementGroup, new Scheme(6, 3), 0, default, new ShardSet(1)), Stop);
        Assert.Equal((BlockRepairStatus.Whole, 1), (moved.Status, moved.Rebuilt.Count));
        Assert.True(former.Corrupt(new FragmentKey(layout.Id, 0, 0), 100));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.Empty(cluster.Repairs.Reported);

        // On both it is damage.
        Assert.True(filled.Corrupt(new FragmentKey(layout.Id, 0, 0), 100));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop));
        Assert.All(cluster.Repairs.Reported, notice => Assert.Equal((new ShardSet(1), RepairReason.CorruptOnRead), (notice.Shards, notice.Reason)));
        Assert.NotEmpty(cluster.Repairs.Reported);
    }

    [Fact]
    public async Task WhatWasWrittenSinceASlotMoved_IsReadFromItsNewDriveAtOnce()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        (MemoryFragmentStore former, _) = MoveFirstSlot(cluster);
        byte[] bytes = cluster.Bytes(300_000);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        int asked = 0;
        former.Fault = (_, _, _) =>
        {
            Interlocked.Increment(ref asked);
            return default;
        };
        Assert.Equal(bytes[..1000], await cluster.ReadAsync(layout, 0, 1000, Stop));
        Assert.Equal(1, asked);
    }

    [Fact]
    public async Task FormerDriveThatHangs_DoesNotHideWhatItsSlotsNewDriveHas()
    {
        await using var cluster = new MemoryCluster(1, groups: 1);
        (MemoryFragmentStore former, MemoryFragmentStore filled) = MoveFirstSlot(cluster);
        byte[] bytes = cluster.Bytes(3000);
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        filled.Fault = async (_, _, _) => await Task.Yield();
        TaskCompletionSource hang = MemoryCluster.Hang(former, FragmentOperation.Read);
        Task<byte[]> first = cluster.ReadAsync(layout, Stop);
        try
        {
            cluster.Time.Advance(TimeSpan.FromSeconds(10));
            Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop).WaitAsync(TimeSpan.FromSeconds(30), Stop));
            Assert.False(first.IsCompleted);
        }
        finally
        {
            hang.SetResult(); // or the cluster would wait for it for ever
        }

        Assert.Equal(bytes, await first);
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task MemoryOfAReadThatWasGivenUp_IsNotReadIntoAgain()
    {
        await using var cluster = new MemoryCluster(9, groups: 1);
        byte[] bytes = cluster.Bytes(6 * (64 << 10));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        var hung = new GivenUpDrive(Guid.NewGuid());
        cluster.Directory.Set(hung);
        MappedDrive[] drives = [.. cluster.Map.Drives, new MappedDrive(hung.DriveId, 1, MemoryCluster.Domain)];
        cluster.Change((_, number, slot) => number == 2 ? new GroupSlot(slot.Drive, [hung.DriveId], IsComplete: false) : slot, drives);
        await using (IExtentReader reader = cluster.Store.OpenRead(layout, 2 * (64 << 10), 64 << 10))
        {
            ReadOnlyMemory<byte> read = await reader.ReadNextAsync(Stop);
            long taken = cluster.Store.ReadBudget.TakenBytes;
            hung.WriteLate();
            Assert.True(read.Span.SequenceEqual(bytes.AsSpan(2 * (64 << 10), 64 << 10)));
            Assert.Equal(64 << 10, taken);
        }

        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task SmallReads_TakeAnyCopy_AndFallBackToTheReader()
    {
        await using var cluster = new MemoryCluster(3);
        byte[] bytes = cluster.Bytes(4096);
        ExtentLayout layout = await cluster.Store.WriteAsync(cluster.Describe(), bytes, Stop);
        var read = new byte[4096];
        Assert.True(cluster.Store.TryReadSmall(layout, read));
        Assert.Equal(bytes, read);
        MemoryCluster.Disconnect(cluster.DriveOf(layout.PlacementGroup, 0));
        Assert.False(cluster.Store.TryReadSmall(layout, read));
        Assert.Equal(bytes, await cluster.ReadAsync(layout, Stop)); // which learns that the drive is gone
        Assert.True(cluster.Store.TryReadSmall(layout, read));
        Assert.Equal(bytes, read);
    }

    [Fact]
    public async Task Readers_BeyondTheBound_Wait()
    {
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 1 << 20, ReadBufferBytes = 6 << 20 });
        byte[] bytes = cluster.Bytes(6 << 20);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        IExtentReader[] readers = [.. Enumerable.Range(0, 7).Select(_ => cluster.Store.OpenRead(layout, 0, bytes.Length))];
        foreach (IExtentReader reader in readers[..6])
            Assert.Equal(1 << 20, (await reader.ReadNextAsync(Stop)).Length);
        Task<ReadOnlyMemory<byte>> waiting = readers[6].ReadNextAsync(Stop).AsTask();
        Assert.False(waiting.IsCompleted);
        cluster.Time.Advance(cluster.Options.BufferPatience);
        await Assert.ThrowsAsync<BuffersBusyException>(() => waiting);
        using var cancellation = new CancellationTokenSource();
        waiting = readers[6].ReadNextAsync(cancellation.Token).AsTask();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        waiting = readers[6].ReadNextAsync(Stop).AsTask();
        foreach (IExtentReader reader in readers[..6])
            await reader.DisposeAsync();
        Assert.True((await waiting).Span.SequenceEqual(bytes.AsSpan(0, 1 << 20)));
        await readers[6].DisposeAsync();
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task ReadersThatAreNotComeBackTo_GiveUpWhatTheyHaveLoadedForThoseWhoWait_AndGoOnWhereTheyStood()
    {
        const int shard = 256 << 10;
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = shard, ReadBufferBytes = 24 * shard });
        byte[] bytes = cluster.Bytes(24 * shard);
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        foreach (MemoryFragmentStore drive in cluster.Drives)
            drive.Fault = async (_, _, _) => await Task.Yield(); // so that nothing is to be had at once

        // Each has a block and the next.
        IExtentReader[] slow = [cluster.Store.OpenRead(layout, 0, bytes.Length), cluster.Store.OpenRead(layout, 0, bytes.Length)];
        foreach (IExtentReader reader in slow)
            Assert.Equal(shard, (await reader.ReadNextAsync(Stop)).Length);
        Task<byte[]> waiting = cluster.ReadAsync(layout, Stop);
        Assert.False(waiting.IsCompleted);
        cluster.Time.Advance(IdleReaders.Patience);
        Assert.Equal(bytes, await waiting.WaitAsync(TimeSpan.FromSeconds(20), Stop));
        var lengths = new List<int>();
        foreach (IExtentReader reader in slow)
        {
            int done = shard;
            while (await reader.ReadNextAsync(Stop) is { IsEmpty: false } piece)
            {
                Assert.True(piece.Span.SequenceEqual(bytes.AsSpan(done, piece.Length)));
                lengths.Add(piece.Length);
                done += piece.Length;
            }

            Assert.Equal(bytes.Length, done);
            await reader.DisposeAsync();
        }

        // A chunk at a time, until it is seen that the caller is quick again.
        Assert.Equal(64 << 10, lengths[0]);
        Assert.Contains(shard, lengths);
        await cluster.AssertIdleAsync(Stop);
    }

    [Fact]
    public async Task ReadsLeftBehindOnADriveThatHangs_DoNotTakeTheBuffersOfOthers()
    {
        StorageOptions settings = MemoryCluster.Settings();
        await using var cluster = new MemoryCluster(9, options: new StorageOptions { Schemes = settings.Schemes, ShardSizeBytes = 64 << 10, ReadBufferBytes = 2 << 20 });
        byte[] bytes = cluster.Bytes(6 * (64 << 10));
        ExtentLayout layout = await cluster.WriteAsync(cluster.Describe(), bytes, bytes.Length, Stop);
        TaskCompletionSource hang = MemoryCluster.Hang(cluster.DriveOf(layout.PlacementGroup, 0), FragmentOperation.Read);
        for (int i = 0; i < 40; i++)
        {
            Task<byte[]> read = cluster.ReadAsync(layout, Stop);
            if (!read.IsCompleted)
                cluster.Time.Advance(TimeSpan.FromMilliseconds(21));
            Assert.Equal(bytes, await read.WaitAsync(TimeSpan.FromSeconds(20), Stop));
        }

        Assert.True(cluster.Time.GetElapsedTime(0) < cluster.Options.SlowDriveAfter, "The drive hangs for so long that nobody waits for it anyhow.");
        Assert.InRange(cluster.Store.Buffers.Lent, 1, 3);
        hang.SetResult();
        await cluster.AssertIdleAsync(Stop);
    }

    /// <summary>The first slots move to a new drive, which has nothing yet.</summary>
    private static (MemoryFragmentStore Former, MemoryFragmentStore Filled) MoveFirstSlot(MemoryCluster cluster, bool isLost = false)
    {
        MemoryFragmentStore former = cluster.DriveOf(new PlacementGroupId(cluster.Drives.Count, 0).Value, 0), filled = cluster.NewDrive(100);
        cluster.Drives.Add(filled);
        cluster.Directory.Set(filled);
        MappedDrive[] drives = [.. cluster.Map.Drives.Select(drive => drive with { Weight = drive.Id == former.DriveId ? 0 : 1 }), new MappedDrive(filled.DriveId, 1, MemoryCluster.Domain)];
        cluster.Change((_, _, slot) => slot.Drive == former.DriveId ? new GroupSlot(filled.DriveId, isLost ? [] : [former.DriveId], IsComplete: false) : slot, drives);
        return (former, filled);
    }
}
