using System.Buffers;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Tests.Fragments;

/// <summary>What every <see cref="IFragmentStore"/> has to do. One derived class for each implementation.</summary>
public abstract class FragmentStoreContract
{
    private readonly Random _random = new(17);
    private readonly ExtentIdFactory _ids;

    protected FragmentStoreContract() => _ids = new ExtentIdFactory(TimeProvider.System, () => (ulong)_random.NextInt64());

    protected static CancellationToken Stop => TestContext.Current.CancellationToken;

    /// <summary>An empty store. Disposed by the test.</summary>
    protected abstract Task<IFragmentStore> OpenAsync();

    /// <summary>Damages a byte of the fragment's payload where the store keeps it.</summary>
    protected abstract void Damage(IFragmentStore store, FragmentKey key, int offsetBytes);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1024)]
    [InlineData(65536)]
    [InlineData(65537)]
    [InlineData(262144)]
    [InlineData(262145)]
    [InlineData(1 << 20)]
    public async Task Fragment_WhenWritten_ReadsBackInEveryRangeOfChunks(int length)
    {
        await using IFragmentStore store = await OpenAsync();
        foreach (bool sync in (bool[])[true, false])
        {
            FragmentWrite write = Make(length);
            FragmentTicket ticket = await store.WriteAsync(write, sync, Stop);
            await store.SyncAsync(new[] { ticket }, Stop);
            for (int offset = 0; offset == 0 || offset < length; offset += 65536)
            {
                Assert.Equal(write.Payload[offset..].ToArray(), await Read(store, write, offset, length - offset));
                if (length - offset > 65536)
                    Assert.Equal(write.Payload.Slice(offset, 65536).ToArray(), await Read(store, write, offset, 65536));
            }
        }
    }

    [Fact]
    public async Task PageAlignedMemory_OfAnyLength_IsWrittenWhole_ToSeveralStoresAtOnce()
    {
        await using IFragmentStore store = await OpenAsync();
        await using IFragmentStore other = await OpenAsync();
        foreach (int length in (int[])[262145, 300_000, 524288, 524289, (1 << 20) - 1, 1 << 20])
        {
            using var aligned = new AlignedMemory(length + 4096);
            foreach (int shift in (int[])[0, 1, 512])
            {
                byte[] bytes = Bytes(length);
                bytes.CopyTo(aligned.Memory.Span[shift..]);
                FragmentWrite write = Make(length, payload: aligned.Memory.Slice(shift, length));
                await Task.WhenAll(store.WriteAsync(write, true, Stop).AsTask(), other.WriteAsync(write, true, Stop).AsTask(), store.WriteAsync(Make(100), true, Stop).AsTask());
                aligned.Memory.Span.Clear();
                Assert.Equal(bytes, await Read(store, write, 0, length));
                Assert.Equal(bytes, await Read(other, write, 0, length));
            }
        }
    }

    [Fact]
    public async Task ShardsOfABlock_AreFragmentsOfTheirOwn()
    {
        await using IFragmentStore store = await OpenAsync();
        var scheme = new Scheme(6, 3);
        ExtentDescriptor descriptor = Descriptor();
        FragmentWrite[] shards = [.. Enumerable.Range(0, 9).Select(shard => Make(174_784, descriptor) with { Scheme = scheme, Shard = shard, BlockLengthBytes = 1 << 20, Block = 3 })];
        FragmentTicket[] tickets = await Task.WhenAll(shards.Select(shard => store.WriteAsync(shard, false, Stop).AsTask()));
        await store.SyncAsync(tickets, Stop);
        foreach (FragmentWrite shard in shards)
        {
            Assert.Equal(shard.Payload.ToArray(), await Read(store, shard, 0, shard.Payload.Length));
            FragmentDetails details = Assert.IsType<FragmentDetails>(await store.StatAsync(shard.Key, Stop));
            Assert.Equal(descriptor.KeyUtf8.ToArray(), details.Descriptor.KeyUtf8.ToArray());
            Assert.Equal(descriptor with { KeyUtf8 = default }, details.Descriptor with { KeyUtf8 = default });
            Assert.Equal((shard.Key, scheme, 1 << 20, 1 << 20, 174_784), (details.Key, details.Scheme, details.BlockSizeBytes, details.BlockLengthBytes, details.PayloadBytes));
        }
    }

    [Fact]
    public async Task Fragment_ThatIsNotThere_IsMissing_AndDeletingItIsNoError()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(1000);
        FragmentMissingException missing = await Assert.ThrowsAsync<FragmentMissingException>(() => Read(store, write, 0, 1000));
        Assert.Throws<FragmentMissingException>(() => store.TryRead(Address(write), 0, new byte[1000]) ? 0 : throw missing);
        Assert.Null(await store.StatAsync(write.Key, Stop));
        await store.DeleteAsync(new[] { write.Key }, Stop);
        await store.DeleteAsync(default, Stop);
    }

    [Fact]
    public async Task Deleted_Fragments_AreGone_AndOthersStay()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite[] writes = [.. Enumerable.Range(0, 40).Select(i => Make(i * 10))];
        await Task.WhenAll(writes.Select(write => store.WriteAsync(write, true, Stop).AsTask()));
        await store.DeleteAsync(writes.Where((_, i) => i % 2 == 0).Select(write => write.Key).ToArray(), Stop);
        for (int i = 0; i < writes.Length; i++)
        {
            if (i % 2 == 0)
                await Assert.ThrowsAsync<FragmentMissingException>(() => Read(store, writes[i], 0, writes[i].Payload.Length));
            else
                Assert.Equal(writes[i].Payload.ToArray(), await Read(store, writes[i], 0, writes[i].Payload.Length));
        }

        Assert.Equal(20, (await store.GetStatisticsAsync(Stop)).LiveFragments);
    }

    [Fact]
    public async Task Fragment_WrittenAgain_IsThereOnce_AndOneDeleteTakesItAway()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(5000);
        for (int i = 0; i < 3; i++)
            await store.WriteAsync(write, true, Stop);
        Assert.Equal(1, (await store.GetStatisticsAsync(Stop)).LiveFragments);
        Assert.Single((await store.ListAsync(null, null, 10, Stop)).Entries);
        await store.DeleteAsync(new[] { write.Key }, Stop);
        Assert.Equal(0, (await store.GetStatisticsAsync(Stop)).LiveFragments);
        await Assert.ThrowsAsync<FragmentMissingException>(() => Read(store, write, 0, 5000));
        await store.WriteAsync(write, true, Stop);
        Assert.Equal(write.Payload.ToArray(), await Read(store, write, 0, 5000));
    }

    [Fact]
    public async Task Damage_IsCorruption_AndNeverMissing_AndOtherChunksStillRead()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(200_000);
        await store.WriteAsync(write, true, Stop);
        Damage(store, write.Key, 70_000);
        FragmentCorruptException corrupt = await Assert.ThrowsAsync<FragmentCorruptException>(() => Read(store, write, 0, 200_000));
        Assert.Equal((write.Key, store.DriveId), (new FragmentKey(corrupt.Extent, corrupt.Block, (ushort)corrupt.Shard), corrupt.DriveId));
        Assert.Throws<FragmentCorruptException>(() => store.TryRead(Address(write), 65536, new byte[65536]) ? 0 : throw corrupt);
        using IMemoryOwner<byte> aligned = new AlignedBuffer(262144, honoursPins: true);
        await Assert.ThrowsAsync<FragmentCorruptException>(() => store.ReadOnceAsync(Address(write), 0, aligned.Memory[..200_000], Stop).AsTask());
        Assert.Equal(write.Payload[..65536].ToArray(), await Read(store, write, 0, 65536));
        Assert.Equal(write.Payload[131072..].ToArray(), await Read(store, write, 131072, 200_000 - 131072));
        Assert.NotNull(await store.StatAsync(write.Key, Stop));

        // Repair writes it again.
        await store.WriteAsync(write, true, Stop);
        Assert.Equal(write.Payload.ToArray(), await Read(store, write, 0, 200_000));
    }

    [Fact]
    public async Task Fragment_OfAnotherGroupSchemeOrLength_IsCorrupt()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(1000);
        await store.WriteAsync(write, true, Stop);
        FragmentAddress right = Address(write);
        foreach (FragmentAddress wrong in (FragmentAddress[])[right with { PlacementGroup = right.PlacementGroup + 1 }, right with { Scheme = Scheme.Copies(5) }, right with { PayloadBytes = 999 }])
            await Assert.ThrowsAsync<FragmentCorruptException>(() => store.ReadAsync(wrong, 0, new byte[wrong.PayloadBytes], Stop).AsTask());
    }

    [Fact]
    public async Task Reads_ThatAreNoWholeChunks_AreRefused()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(100_000);
        await store.WriteAsync(write, true, Stop);
        await Assert.ThrowsAsync<ArgumentException>(() => Read(store, write, 1, 65536));
        await Assert.ThrowsAsync<ArgumentException>(() => Read(store, write, 0, 1000));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => store.WriteAsync(write with { BlockLengthBytes = 5 }, true, Stop).AsTask());
    }

    [Fact]
    public async Task List_GivesEveryFragmentInKeyOrder_InPagesOfAnySize_AndByGroup()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite[] writes = [.. Enumerable.Range(0, 300).Select(i => Make(i % 7, Descriptor() with { PlacementGroup = i % 5 }) with { Block = i % 3 == 0 ? i * 1000 : 0, Shard = i % 64 })];
        await Task.WhenAll(writes.Select(write => store.WriteAsync(write, true, Stop).AsTask()));
        await store.DeleteAsync(writes[..20].Select(write => write.Key).ToArray(), Stop);
        FragmentEntry[] expected = [.. writes[20..].Select(write => new FragmentEntry(write.Key, write.Descriptor.PlacementGroup, write.Scheme.Id, write.Payload.Length)).OrderBy(entry => entry.Key)];
        foreach (int page in (int[])[1, 7, 100, 280, 1000])
            Assert.Equal(expected, await ListAll(store, null, page));
        Assert.Equal(expected.Where(entry => entry.PlacementGroup is 1 or 4), await ListAll(store, new HashSet<int> { 1, 4 }, 9));
        Assert.Empty(await ListAll(store, new HashSet<int> { 77 }, 9));
    }

    [Fact]
    public async Task List_WhileFragmentsComeAndGo_ShowsAllThatWereThereBefore()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite[] writes = [.. Enumerable.Range(0, 200).Select(_ => Make(10))];
        await Task.WhenAll(writes.Select(write => store.WriteAsync(write, true, Stop).AsTask()));
        using var done = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        Task churn = Task.Run(
            async () =>
            {
                while (!done.IsCancellationRequested)
                {
                    FragmentWrite write;
                    lock (_random)
                        write = Make(10);
                    await store.WriteAsync(write, true, Stop);
                    await store.DeleteAsync(new[] { write.Key }, Stop);
                }
            },
            Stop);
        for (int round = 0; round < 30; round++)
        {
            HashSet<FragmentKey> listed = [.. (await ListAll(store, null, 13)).Select(entry => entry.Key)];
            Assert.All(writes, write => Assert.Contains(write.Key, listed));
        }

        await done.CancelAsync();
        await churn;
    }

    [Fact]
    public async Task Cancelled_BeforeItBegins_DoesNothing()
    {
        await using IFragmentStore store = await OpenAsync();
        FragmentWrite write = Make(10);
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.WriteAsync(write, true, cancelled).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.ReadAsync(Address(write), 0, new byte[10], cancelled).AsTask());
        Assert.Null(await store.StatAsync(write.Key, Stop));
    }

    protected FragmentWrite Make(int length, ExtentDescriptor? descriptor = null, ReadOnlyMemory<byte>? payload = null)
    {
        ReadOnlyMemory<byte> bytes = payload ?? Bytes(length);
        var checksums = new ulong[(length + 65535) / 65536];
        for (int i = 0; i < checksums.Length; i++)
            checksums[i] = Crc64Nvme.Compute(bytes.Span.Slice(i * 65536, Math.Min(65536, length - (i * 65536))));
        return new FragmentWrite(descriptor ?? Descriptor(), Scheme.Copies(3), 1 << 20, 0, length, 1, bytes, checksums);
    }

    protected static FragmentAddress Address(in FragmentWrite write) => new(write.Key, write.Descriptor.PlacementGroup, write.Scheme, write.Payload.Length);

    protected static async Task<byte[]> Read(IFragmentStore store, FragmentWrite write, int offset, int count)
    {
        var bytes = new byte[count];
        await store.ReadAsync(Address(write), offset, bytes, Stop);
        var again = new byte[count];
        if (store.TryRead(Address(write), offset, again))
            Assert.Equal(bytes, again);
        again.AsSpan().Fill(0xAA);
        await store.ReadOnceAsync(Address(write), offset, again, Stop);
        Assert.Equal(bytes, again);
        using IMemoryOwner<byte> aligned = new AlignedBuffer(Math.Max(1, count), honoursPins: true);
        await store.ReadOnceAsync(Address(write), offset, aligned.Memory[..count], Stop);
        Assert.Equal(bytes, aligned.Memory[..count].ToArray());
        return bytes;
    }

    private static async Task<List<FragmentEntry>> ListAll(IFragmentStore store, IReadOnlySet<int>? groups, int pageSize)
    {
        var entries = new List<FragmentEntry>();
        FragmentKey? after = null;
        do
        {
            FragmentPage page = await store.ListAsync(groups, after, pageSize, Stop);
            Assert.InRange(page.Entries.Count, 0, pageSize);
            entries.AddRange(page.Entries);
            after = page.Next;
        }
        while (after is not null);
        return entries;
    }

    private ExtentDescriptor Descriptor() => new(_ids.Next(), 3, 1234, "photos/2026/a key"u8.ToArray(), UInt128.MaxValue - 5, 9);

    private byte[] Bytes(int length)
    {
        var bytes = new byte[length];
        _random.NextBytes(bytes);
        return bytes;
    }

    private sealed unsafe class AlignedMemory(int lengthBytes) : MemoryManager<byte>
    {
        private void* _address = System.Runtime.InteropServices.NativeMemory.AlignedAlloc((nuint)lengthBytes, 4096);

        public override Span<byte> GetSpan() => new(_address, lengthBytes);

        public override MemoryHandle Pin(int elementIndex = 0) => new((byte*)_address + elementIndex);

        public override void Unpin()
        {
        }

        protected override void Dispose(bool disposing)
        {
            System.Runtime.InteropServices.NativeMemory.AlignedFree(_address);
            _address = null;
        }
    }
}
