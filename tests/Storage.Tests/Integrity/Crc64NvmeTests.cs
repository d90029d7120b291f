using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Tests.Integrity;

public sealed class Crc64NvmeTests
{
    private static readonly byte[] Sample = MakeSample(8192);

    [Fact]
    public void Compute_OfTheCheckString_IsThePublishedValue()
        => Assert.Equal(0xAE8B14860A799888, Crc64Nvme.Compute("123456789"u8));

    [Fact]
    public void EveryImplementation_AtEveryLengthAndAlignment_MatchesTheBitwiseDefinition()
    {
        for (int length = 0; length <= 2048; length++)
        {
            int alignment = length % 67;
            ReadOnlySpan<byte> data = Sample.AsSpan(alignment, length);
            ulong expected = Bitwise(data);
            Assert.Equal(expected, Crc64Nvme.Compute(data));
            Assert.Equal(expected, Crc64Nvme.AppendScalar(0, data));
            if (Crc64Nvme.HasVectorMultiply)
                Assert.Equal(expected, Crc64Nvme.AppendVector128(0, data));
        }
    }

    [Fact]
    public void Append_AcrossAnySplit_EqualsTheWhole()
    {
        ulong whole = Crc64Nvme.Compute(Sample);
        for (int split = 0; split <= Sample.Length; split += 37)
            Assert.Equal(whole, Crc64Nvme.Append(Crc64Nvme.Compute(Sample.AsSpan(0, split)), Sample.AsSpan(split)));
    }

    [Fact]
    public void Combine_AcrossAnySplit_EqualsTheWhole()
    {
        ulong whole = Crc64Nvme.Compute(Sample);
        for (int split = 0; split <= Sample.Length; split += 41)
            Assert.Equal(whole, Crc64Nvme.Combine(Crc64Nvme.Compute(Sample.AsSpan(0, split)), Crc64Nvme.Compute(Sample.AsSpan(split)), Sample.Length - split));
    }

    private static byte[] MakeSample(int length)
    {
        var bytes = new byte[length];
        new Random(64).NextBytes(bytes);
        return bytes;
    }

    private static ulong Bitwise(ReadOnlySpan<byte> data)
    {
        ulong state = ulong.MaxValue;
        foreach (byte value in data)
        {
            state ^= value;
            for (int bit = 0; bit < 8; bit++)
                state = (state & 1) != 0 ? (state >> 1) ^ 0x9A6C9329AC4BC9B5 : state >> 1;
        }

        return ~state;
    }
}
