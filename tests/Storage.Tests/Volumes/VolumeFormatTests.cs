using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
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

    private static string Golden(string name)
    {
        using Stream stream = typeof(VolumeFormatTests).Assembly.GetManifestResourceStream($"golden.{name}") ?? throw new FileNotFoundException(name);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().ReplaceLineEndings("").Trim();
    }
}
