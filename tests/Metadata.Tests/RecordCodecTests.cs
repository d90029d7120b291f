using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Tests;

public class RecordCodecTests
{
    internal static ObjectVersion Rich() => new()
    {
        VersionId = new VersionId(0x0102030405060708, 0x090a0b0c0d0e0f10),
        IsNullVersion = false,
        SizeBytes = 5L << 40,
        ETag = new ETag(0x1112131415161718, 0x191a1b1c1d1e1f20, 2),
        LastModifiedUnixMs = 1_700_000_000_123,
        StorageClass = "GLACIER_IR",
        Headers = new ObjectHeaders { ContentType = "text/plain; charset=utf-8", Values = [new("cache-control", "no-cache"), new("x-amz-meta-naïve", "ünï\U0001F600")] },
        Parts =
        [
            new PartLayout(1, 5L << 39, 3, 0x21, 0x22, 0x0603, 8 << 20, new ETag(0x23, 0x24, 0), new ObjectChecksum("CRC64NVME", false, "AAAAAAAAAAA=")),
            new PartLayout(10_000, 5L << 39, 4095, ulong.MaxValue, 0x26, -1, int.MaxValue, new ETag(0x27, 0x28, 0), null),
        ],
        Checksum = new ObjectChecksum("SHA256", true, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-2"),
    };

    internal static UploadInfo RichUpload() => new(
        new VersionId(0x0102030405060708, 0x090a0b0c0d0e0f10), new BucketId(77), "dir/naïve\U0001F600", "owner", 1_700_000_000_123, "DEEP_ARCHIVE",
        new ObjectHeaders { ContentType = "a/b", Values = [new("x-amz-meta-a", "b")] }, "CRC32C", true);

    private static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "golden", name);

    private static void IsGolden(string name, byte[] record)
    {
        // To make the file anew on purpose: a format that was released is not changed, it gets a new version.
        if (Environment.GetEnvironmentVariable("OBJECTSTORE_WRITE_GOLDEN") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Combine(folder, name), Convert.ToHexStringLower(record) + "\n");
        }

        Assert.Equal(File.ReadAllText(Golden(name)).Trim(), Convert.ToHexStringLower(record));
    }

    [Fact]
    public void ObjectVersionRecord_IsTheGoldenOne() => IsGolden("object-version-1.hex", MetadataRecords.EncodeVersion(Rich()));

    [Fact]
    public void UploadRecord_IsTheGoldenOne() => IsGolden("upload-1.hex", MetadataRecords.EncodeUpload(RichUpload()));

    [Fact]
    public void PartRecord_IsTheGoldenOne() => IsGolden("part-1.hex", MetadataRecords.EncodePart(Rich().Parts[0]));

    [Fact]
    public void GoldenObjectVersion_DecodesToWhatItWas()
    {
        ObjectVersion decoded = MetadataRecords.DecodeVersion(Convert.FromHexString(File.ReadAllText(Golden("object-version-1.hex")).Trim()));
        ObjectVersion rich = Rich();
        Assert.Equal(rich.Parts, decoded.Parts);
        Assert.Equal(rich.Headers.Values, decoded.Headers.Values);
        Assert.Equal(rich with { Parts = [], Headers = ObjectHeaders.Empty }, decoded with { Parts = [], Headers = ObjectHeaders.Empty });
        Assert.Equal(rich.Headers.ContentType, decoded.Headers.ContentType);
    }

    [Fact]
    public void SmallVersions_TakeLittleRoom()
    {
        byte[] plain = MetadataRecords.EncodeVersion(Build.Version(Build.Extent()));
        Assert.InRange(plain.Length, 60, 130);
        Assert.Empty(MetadataRecords.DecodeVersion(MetadataRecords.EncodeVersion(new ObjectVersion { VersionId = Build.Id() })).Parts);
    }

    [Fact]
    public void Decode_OfEveryTruncation_IsATypedFault()
    {
        byte[] record = MetadataRecords.EncodeVersion(Rich());
        for (int length = 0; length < record.Length; length++)
        {
            Assert.Throws<MetadataRecordException>(() => MetadataRecords.DecodeVersion(record.AsSpan(0, length)));
        }
    }

    [Fact]
    public void Decode_OfEveryFlippedBit_IsATypedFault()
    {
        byte[] record = MetadataRecords.EncodeVersion(Rich());
        for (int bit = 0; bit < record.Length * 8; bit++)
        {
            byte[] damaged = (byte[])record.Clone();
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Throws<MetadataRecordException>(() => MetadataRecords.DecodeVersion(damaged));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Decode_OfHostileBytesWithAGoodChecksum_IsATypedFaultOrARecord(int seed)
    {
        var random = new Random(seed);
        byte[] original = MetadataRecords.EncodeVersion(Rich());
        for (int round = 0; round < 20_000; round++)
        {
            byte[] hostile = original.AsSpan(0, random.Next(6, original.Length + 1)).ToArray();
            for (int i = random.Next(1, 5); i > 0; i--)
            {
                hostile[random.Next(2, hostile.Length)] = (byte)random.Next(256);
            }

            System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(hostile.AsSpan(hostile.Length - 4), Crc32C.Of(hostile.AsSpan(0, hostile.Length - 4)));
            try
            {
                MetadataRecords.DecodeVersion(hostile);
            }
            catch (MetadataRecordException)
            {
                continue;
            }
        }
    }

    [Fact]
    public void Decode_OfANewerVersion_SaysSo()
    {
        byte[] record = MetadataRecords.EncodeVersion(Rich());
        record[1] = 2;
        Assert.Contains("has version 2", Assert.Throws<MetadataRecordException>(() => MetadataRecords.DecodeVersion(record)).Message);
    }

    [Fact]
    public void Decode_OfAnotherKind_IsATypedFault() => Assert.Throws<MetadataRecordException>(() => MetadataRecords.DecodeVersion(MetadataRecords.EncodePart(Build.Extent())));

    [Fact]
    public void Encode_OfAnUnknownStorageClassOrAlgorithm_IsRefused()
    {
        Assert.Throws<ArgumentException>(() => MetadataRecords.EncodeVersion(Rich() with { StorageClass = "MYTHICAL" }));
        Assert.Throws<ArgumentException>(() => MetadataRecords.EncodeVersion(Rich() with { Checksum = new ObjectChecksum("MD4", false, "x") }));
    }

    [Fact]
    public void Crc32C_OfTheCheckString_IsThePublishedValue() => Assert.Equal(0xE3069283u, Crc32C.Of("123456789"u8));
}
