using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using ObjectStore.S3.Checksums;

namespace ObjectStore.S3.Tests.Checksums;

public sealed class CrcTests
{
    private static readonly byte[] Data = RandomBytes(20_000);

    [Fact]
    public void Hash_OfTheCheckString_IsThePublishedValue()
    {
        Assert.Equal(0xcbf43926u, Crc32.Hash("123456789"u8));
        Assert.Equal(0xe3069283u, Crc32C.Hash("123456789"u8));
        Assert.Equal(0xae8b14860a799888ul, Crc64Nvme.Hash("123456789"u8));
        Assert.Equal(0u, Crc32.Hash(default));
        Assert.Equal(0ul, Crc64Nvme.Hash(default));
    }

    public static TheoryData<int, ulong> Polynomials => new() { { 32, 0xEDB88320 }, { 32, 0x82F63B78 }, { 64, 0x9A6C9329AC4BC9B5 } };

    [Theory]
    [MemberData(nameof(Polynomials))]
    public void Update_OnEveryPath_AgreesWithTheDefinition(int width, ulong polynomial)
    {
        FoldingCrc engine = new(width, polynomial);
        ulong start = width == 32 ? 0xDEADBEEF : 0xDEADBEEFCAFEF00D;
        for (int offset = 0; offset < 3; offset++)
        {
            // One pass of the definition gives the expected state at every length.
            ulong expected = start;
            for (int length = 0; length <= 4200; length++)
            {
                if (length < 1400 || length > 4080)
                {
                    ReadOnlySpan<byte> data = Data.AsSpan(offset, length);
                    Assert.Equal(expected, engine.UpdatePortable(start, data));
                    Assert.Equal(expected, engine.Update(start, data));
                    if (Pclmulqdq.IsSupported && length >= 64) Assert.Equal(expected, engine.UpdateV128(start, data));
                    if (Pclmulqdq.V256.IsSupported && length >= 256) Assert.Equal(expected, engine.UpdateV256(start, data));
                    if (Pclmulqdq.V512.IsSupported && Vector512.IsHardwareAccelerated && length >= 512) Assert.Equal(expected, engine.UpdateV512(start, data));
                    if (polynomial == 0x82F63B78 && Sse42.X64.IsSupported) Assert.Equal((uint)expected, Crc32C.UpdateByInstruction((uint)start, data));
                }

                expected = Bitwise(expected, Data[offset + length], polynomial);
            }
        }
    }

    [Fact]
    public void Combine_OfAnySplit_IsTheHashOfTheWhole()
    {
        int seed = Environment.TickCount;
        Random random = new(seed);
        for (int i = 0; i < 200; i++)
        {
            byte[] whole = RandomBytes(random.Next(0, 9000), seed + i);
            int split = random.Next(0, whole.Length + 1);
            ReadOnlySpan<byte> a = whole.AsSpan(0, split);
            ReadOnlySpan<byte> b = whole.AsSpan(split);
            string context = $"seed {seed}, round {i}";
            Assert.True(Crc32.Hash(whole) == Crc32.Combine(Crc32.Hash(a), Crc32.Hash(b), b.Length), context);
            Assert.True(Crc32C.Hash(whole) == Crc32C.Combine(Crc32C.Hash(a), Crc32C.Hash(b), b.Length), context);
            Assert.True(Crc64Nvme.Hash(whole) == Crc64Nvme.Combine(Crc64Nvme.Hash(a), Crc64Nvme.Hash(b), b.Length), context);
            Assert.True(Crc64Nvme.Hash(whole) == Crc64Nvme.Append(Crc64Nvme.Append(0, a), b), context);
        }
    }

    [Fact]
    public void Combine_WithVeryLongSecond_IsAssociative()
    {
        // (a·b)·c = a·(b·c) with lengths of several GiB, where a wrong exponent would show.
        const long B = 5_000_000_000;
        const long C = 7_123_456_789;
        Assert.Equal(
            Crc64Nvme.Combine(Crc64Nvme.Combine(11, 22, B), 33, C), Crc64Nvme.Combine(11, Crc64Nvme.Combine(22, 33, C), B + C));
        Assert.Equal(Crc32.Combine(Crc32.Combine(11, 22, B), 33, C), Crc32.Combine(11, Crc32.Combine(22, 33, C), B + C));
    }

    private static ulong Bitwise(ulong state, byte value, ulong polynomial)
    {
        state ^= value;
        for (int bit = 0; bit < 8; bit++) state = (state & 1) != 0 ? (state >> 1) ^ polynomial : state >> 1;
        return state;
    }

    private static byte[] RandomBytes(int length, int seed = 1)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
