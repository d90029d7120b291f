using System.Text;

namespace ObjectStore.Grains.Tests;

public sealed class CrcTests(ITestOutputHelper output)
{
    public static TheoryData<string, ulong> CheckValues => new()
    {
        { "CRC32", 0xcbf43926 },
        { "CRC32C", 0xe3069283 },
        { "CRC64NVME", 0xae8b14860a799888 },
    };

    [Theory, MemberData(nameof(CheckValues))]
    public void Compute_OfTheDigits_IsTheCheckValue(string algorithm, ulong check) =>
        Assert.Equal(check, Of(algorithm).Compute("123456789"u8));

    [Theory, MemberData(nameof(CheckValues))]
    public void Combine_AtEverySplit_IsTheCheckOfTheWhole(string algorithm, ulong check)
    {
        Crc crc = Of(algorithm);
        byte[] digits = Encoding.ASCII.GetBytes("123456789");
        for (int split = 0; split <= digits.Length; split++)
            Assert.Equal(check, crc.Combine(crc.Compute(digits.AsSpan(0, split)), crc.Compute(digits.AsSpan(split)), digits.Length - split));
    }

    [Theory, MemberData(nameof(CheckValues))]
    public void Combine_OfRandomRuns_IsTheCheckOfTheWhole(string algorithm, ulong _)
    {
        int seed = Environment.TickCount;
        output.WriteLine($"seed {seed}");
        Random random = new(seed);
        Crc crc = Of(algorithm);
        for (int round = 0; round < 50; round++)
        {
            byte[] bytes = new byte[random.Next(100_000)];
            random.NextBytes(bytes);
            int split = random.Next(bytes.Length + 1);
            Assert.Equal(crc.Compute(bytes), crc.Combine(crc.Compute(bytes.AsSpan(0, split)), crc.Compute(bytes.AsSpan(split)), bytes.Length - split));
        }
    }

    private static Crc Of(string algorithm) => algorithm switch
    {
        "CRC32" => Crc.Crc32,
        "CRC32C" => Crc.Crc32C,
        _ => Crc.Crc64Nvme,
    };
}
