using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Tests.Volumes;

/// <summary>The golden bytes of docs/formats/volume.md. A change here is a change of format: raise its version.</summary>
public sealed class VolumeFormatTests
{
    [Fact]
    public void RecordHeader_MatchesTheGoldenBytes()
    {
        byte[] payload = [1, 2, 3, 4, 5];
        var header = new RecordHeader
        {
            Kind = RecordKind.Fragment,
            KeyBytes = 3,
            SchemeId = 0x0102,
            Generation = 0x1112131415161718,
            VolumeId = 0x21,
            Offset = 0x1000,
            DurableBelow = 0x1000,
            Sequence = 0x31,
            Extent = new ExtentId(new UInt128(0x4142434445464748, 0x494A4B4C4D4E4F50)),
            Block = 0x51,
            Shard = 0x61,
            PartNumber = 0x71,
            PlacementGroup = 0x81,
            ChunkBytes = VolumeFormat.ChunkBytes,
            BucketId = 0x91,
            Version = new UInt128(0xA1, 0xA2),
            PayloadBytes = payload.Length,
            CreatedUnixMilliseconds = 0xB1,
            BlockSizeBytes = 1 << 20,
            ChunkCount = 1,
        };
        header.HeaderBytes = header.PayloadOffset = RecordHeader.MeasureHeader(3, 1);
        header.RecordBytes = VolumeFormat.AlignToRecord(header.PayloadOffset + payload.Length);
        var bytes = new byte[header.HeaderBytes];
        header.Encode(bytes, "key"u8, [Crc64Nvme.Compute(payload)]);
        Assert.Equal(Golden("record.hex"), Convert.ToHexString(bytes));
        Assert.True(RecordHeader.TryDecode(bytes, out RecordHeader decoded));
        Assert.Equal(header, decoded);
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(RecordHeader.TryDecode(bytes, out _));
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
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
