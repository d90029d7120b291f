using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Simulation;
using ObjectStore.Storage.Tests.Extents;
using ObjectStore.Storage.Tests.Simulation;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Volumes;

/// <summary>The golden bytes of docs/formats/volume.md. A change here is a change of format: raise its version.</summary>
public sealed class VolumeFormatTests
{
    [Theory]
    [InlineData("record.hex")]
    [InlineData("copy.hex")]
    public void RecordHeader_MatchesTheGoldenBytes(string golden)
    {
        byte[] payload = [1, 2, 3, 4, 5];
        var header = new RecordHeader
        {
            Kind = RecordKind.Fragment,
            Place = new RecordPlace(0x1112131415161718, 0x21, 0x5000),
            DurableBelow = 0x2000,
            Extent = new ExtentId(new UInt128(0x4142434445464748, 0x494A4B4C4D4E4F50)),
            Block = 0x51,
            Shard = 2,
            SchemeId = 0x0102,
            PartNumber = 0x71,
            PlacementGroup = 0x81,
            BucketId = 0x91,
            Version = new UInt128(0xA1, 0xA2),
            PayloadBytes = payload.Length,
            CreatedUnixMilliseconds = 0x414243444546 + 100,
            BlockSizeBytes = 1 << 20,
            BlockLengthBytes = payload.Length,
            KeyBytes = 3,
        };
        if (golden == "copy.hex")
            (header.Kind, header.SourceVolumeId, header.SourceOffset) = (RecordKind.Copy, 0x15, 0x123456);
        header.Measure();
        var bytes = new byte[header.HeaderBytes];
        header.Encode(bytes, "key"u8, [Crc64Nvme.Compute(payload)]);
        Assert.Equal(Golden(golden), Convert.ToHexString(bytes));
        Assert.True(RecordHeader.TryDecode(bytes, header.Place, out RecordHeader decoded));
        Assert.Equal(header, decoded);
        Assert.Equal("key"u8, decoded.Key(bytes));
        Assert.Equal(Crc64Nvme.Compute(payload), decoded.ChunkChecksum(bytes, 0));

        // Anywhere else it is not a record.
        Assert.False(RecordHeader.TryDecode(bytes, header.Place with { Offset = 0x6000 }, out _));
        Assert.False(RecordHeader.TryDecode(bytes, header.Place with { VolumeId = 0x22 }, out _));
        Assert.False(RecordHeader.TryDecode(bytes, header.Place with { Generation = 1 }, out _));
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(RecordHeader.TryDecode(bytes, header.Place, out _));
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void Tombstone_MatchesTheGoldenBytes()
    {
        var extent = new ExtentId(new UInt128(0x4142434445464748, 0x494A4B4C4D4E4F50));
        TombstoneEntry[] entries =
        [
            new(new FragmentKey(extent, 0, 1), 7, 0x2000),
            new(new FragmentKey(extent, 300, 2), 7, 0x12345678),
            new(new FragmentKey(new ExtentId(1), 0, 0), 1L << 40, 1L << 32),
        ];
        byte[] bytes = TombstoneEntry.Encode(entries);
        Assert.Equal(Golden("tombstone.hex"), Convert.ToHexString(bytes));
        Assert.Equal(entries, TombstoneEntry.Decode(bytes));
    }

    [Fact]
    public void RandomHeaders_ComeBack_AndRandomBytesNeverDo()
    {
        var random = new Random(8);
        for (int i = 0; i < 3000; i++)
        {
            Scheme scheme = (Scheme[])[Scheme.SingleCopy, Scheme.Copies(3), new Scheme(6, 3), new Scheme(17, 3)] is var schemes ? schemes[random.Next(4)] : default;
            var header = new RecordHeader
            {
                Kind = (RecordKind[])[RecordKind.Tombstone, RecordKind.Fragment, RecordKind.Copy] is var kinds ? kinds[i % 3] : default,
                Place = new RecordPlace((ulong)random.NextInt64(), random.NextInt64(1L << random.Next(40)), random.NextInt64(1L << random.Next(14, 40)) & ~7L),
                CreatedUnixMilliseconds = random.NextInt64(1L << random.Next(45)),
                PayloadBytes = random.Next(1 << random.Next(19)),
            };
            header.DurableBelow = random.NextInt64(header.Offset + 1) & ~4095L;
            if (header.Kind == RecordKind.Copy)
                (header.SourceVolumeId, header.SourceOffset) = (random.NextInt64(1L << 40), random.NextInt64(1L << 40));
            if (header.IsFragment)
            {
                header.IsPaged = random.Next(2) == 0;
                header.Extent = new ExtentId(new UInt128((ulong)random.NextInt64(long.MinValue, long.MaxValue), (ulong)random.NextInt64()));
                header.Block = random.Next(1 << random.Next(30));
                header.Shard = (ushort)random.Next(64);
                header.SchemeId = scheme.Id;
                header.PartNumber = (ushort)random.Next(65536);
                header.PlacementGroup = random.Next(1 << random.Next(30));
                header.BucketId = random.NextInt64(long.MinValue, long.MaxValue) >> random.Next(64);
                header.Version = new UInt128((ulong)random.NextInt64(), (ulong)random.NextInt64());
                header.BlockSizeBytes = random.Next(2) == 0 ? random.Next(1, 17) << 16 : random.Next(1 << 20);
                header.BlockLengthBytes = random.Next(1 << random.Next(20));
                header.PayloadBytes = scheme.ShardBytes(header.BlockLengthBytes);
                header.KeyBytes = random.Next(1 << random.Next(11));
            }

            header.Measure();
            var key = new byte[header.KeyBytes];
            random.NextBytes(key);
            ulong[] checksums = [.. Enumerable.Range(0, header.ChunkCount).Select(_ => (ulong)random.NextInt64())];
            var bytes = new byte[header.HeaderBytes];
            header.Encode(bytes, key, checksums);
            Assert.True(bytes.Length <= RecordHeader.MaxHeaderBytes(key.Length, checksums.Length));
            Assert.True(RecordHeader.TryDecode(bytes, header.Place, out RecordHeader decoded));
            Assert.Equal(header, decoded);
            Assert.Equal(key, decoded.Key(bytes));
            Assert.Equal(checksums, Enumerable.Range(0, header.ChunkCount).Select(chunk => decoded.ChunkChecksum(bytes, chunk)));
            Assert.False(RecordHeader.TryDecode(bytes.AsSpan(0, random.Next(bytes.Length)), header.Place, out _));
            random.NextBytes(bytes.AsSpan(3));
            Assert.False(RecordHeader.TryDecode(bytes, header.Place, out _));
        }
    }

    [Fact]
    public void VolumeHeader_MatchesTheGoldenBytes()
    {
        var header = new VolumeHeader(new Guid("00010203-0405-0607-0809-0a0b0c0d0e0f"), new Guid("10111213-1415-1617-1819-1a1b1c1d1e1f"), 0x21, 0x3132333435363738, 1L << 32, 0x41);
        var page = new byte[VolumeFormat.PageBytes];
        header.Encode(page);
        Assert.Equal(Golden("volume-header.hex"), Convert.ToHexString(page.AsSpan(0, 80)) + Convert.ToHexString(page.AsSpan(4088)));
        Assert.True(VolumeHeader.TryDecode(page, out VolumeHeader decoded));
        Assert.Equal(header, decoded);
    }

    [Fact]
    public void EndOfAVolume_MatchesTheGoldenBytes()
    {
        var drive = new SimulatedDrive(1, 1 << 20, indexPath: null);
        var header = new VolumeHeader(new Guid("00010203-0405-0607-0809-0a0b0c0d0e0f"), new Guid("10111213-1415-1617-1819-1a1b1c1d1e1f"), 0x21, 0x3132333435363738, 1 << 16, 0x41);
        using var volume = new Volume(header, drive.CreateVolume(0x21, 1 << 16)) { AppendOffset = 0x5000, DurableEnd = 0x4000, AppendChecksum = 0x5152535455565758 };
        using var page = new AlignedBuffer(VolumeFormat.PageBytes);
        VolumeWriter.WriteFooter(volume, page, new ManualTime(), [new VolumeRange(0x2000, 0x2345), new VolumeRange(0x3000, 0x4000)]);
        byte[] content = drive.Content(0x21);
        Assert.Equal(0x7000, content.Length);
        string[] golden = GoldenLines("volume-end.hex");
        Assert.Equal(golden[0], RecordAt(content, 0x5000, RecordKind.Void, header));
        Assert.Equal(golden[1], RecordAt(content, 0x6000, RecordKind.Footer, header));
    }

    [Fact]
    public async Task CloseOfAVolume_MatchesTheGoldenBytes()
    {
        var header = new RecordHeader
        {
            Kind = RecordKind.Close,
            Place = new RecordPlace(0x3132333435363738, 0x21, 0x5000),
            DurableBelow = 0x5000,
            PayloadBytes = 0,
            CreatedUnixMilliseconds = 0x414243444546,
        };
        header.Measure();
        var bytes = new byte[header.HeaderBytes];
        header.Encode(bytes, default, []);
        Assert.Equal(Golden("close.hex"), Convert.ToHexString(bytes));

        // And it is what a drive ends its log with when it is closed in order.
        using var folder = new TestFolder();
        var options = new StorageOptions { DrivePaths = [folder.Path], VolumeSizeBytes = 8 << 20, HeadroomBytes = 0 };
        await (await LocalDrives.OpenAsync(options, TimeProvider.System, () => 1, NoStorageEvents.Instance, TestContext.Current.CancellationToken)).DisposeAsync();
        await using (LocalDrives drives = await LocalDrives.OpenAsync(options, TimeProvider.System, () => 1, NoStorageEvents.Instance, TestContext.Current.CancellationToken))
        {
            byte[] payload = [1, 2, 3];
            await drives.Drives[0].WriteAsync(
                new FragmentWrite(new ExtentDescriptor(new ExtentId(1), 0, 1, "key"u8.ToArray(), 1, 0), Scheme.SingleCopy, 1 << 20, 0, 3, 0, payload, new[] { Crc64Nvme.Compute(payload) }), sync: true, TestContext.Current.CancellationToken);
        }

        byte[] file = File.ReadAllBytes(Assert.Single(Directory.GetFiles(System.IO.Path.Combine(folder.Path, "volumes"))));
        Assert.True(VolumeHeader.TryDecode(file, out VolumeHeader written));
        int last = (int)VolumeFormat.LogStart + VolumeFormat.PageBytes;
        Assert.True(RecordHeader.TryDecode(file.AsSpan(last), new RecordPlace(written.Generation, written.VolumeId, last), out RecordHeader close));
        Assert.Equal((RecordKind.Close, last, 0), (close.Kind, close.DurableBelow, close.PayloadBytes));
    }

    private static string RecordAt(byte[] content, int offset, RecordKind kind, VolumeHeader volume)
    {
        Assert.True(RecordHeader.TryDecode(content.AsSpan(offset), new RecordPlace(volume.Generation, volume.VolumeId, offset), out RecordHeader header));
        Assert.Equal(kind, header.Kind);
        Assert.Equal(Crc64Nvme.Compute(content.AsSpan(offset + header.PayloadOffset, header.PayloadBytes)), header.ChunkChecksum(content.AsSpan(offset), 0));
        return Convert.ToHexString(content.AsSpan(offset, header.PayloadOffset + header.PayloadBytes));
    }

    private static string Golden(string name) => string.Concat(GoldenLines(name));

    private static string[] GoldenLines(string name)
    {
        using Stream stream = typeof(VolumeFormatTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }
}
