using System.Net;
using ObjectStore.Silo.Configuration;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Silo.Tests.Configuration;

/// <summary>The command line, without a process.</summary>
public sealed class SiloOptionsTests
{
    [Fact]
    public void NoWords_GiveTheDocumentedDefaults()
    {
        SiloOptions options = Parse();
        Assert.Equal((Path.GetFullPath("data"), IPAddress.Loopback, 9000), (options.DataPath, options.Address, options.Port));
        Assert.Equal([Path.GetFullPath("data/drives/1")], options.DrivePaths);
        Assert.Equal(("us-east-1", 1L << 30, (long?)null), (options.Region, options.VolumeSizeBytes, options.HeadroomBytes));
        Assert.Equal((TimeSpan.FromMinutes(15), TimeSpan.FromSeconds(10)), (options.GarbageGrace, options.DrainTimeout));
        Assert.Equal((LogLevel.Information, false), (options.LogLevel, options.JsonLogs));
    }

    [Fact]
    public void EqualsSign_IsAsGoodAsASpace()
    {
        SiloOptions options = Parse("--region=eu-1", "--domain", "S3.Example.com", "--domain=other", "--headroom=8MiB", "--log-format=json", "--log-level=WARNING");
        Assert.Equal(("eu-1", 8L << 20, true, LogLevel.Warning), (options.Region, options.HeadroomBytes, options.JsonLogs, options.LogLevel));
        Assert.Equal(["s3.example.com", "other"], options.Domains);
    }

    [Fact]
    public void RepairAndPlacement_HaveTheDocumentedDefaults_AndTakeValues()
    {
        SiloOptions options = Parse();
        Assert.Equal((TimeSpan.FromMinutes(10), TimeSpan.FromDays(14), (long?)null, (string?)null), (options.DownOutAfter, options.ScrubPeriod, options.RepairBytesPerSecond, options.TopologyPath));
        Assert.Same(SchemePolicy.Default, options.Schemes.Policy);
        options = Parse("--down-out-after", "1.5", "--scrub-period=60", "--repair-rate", "200MiB", "--topology", "t.json");
        Assert.Equal((TimeSpan.FromSeconds(1.5), TimeSpan.FromMinutes(1), 200L << 20, Path.GetFullPath("t.json")), (options.DownOutAfter, options.ScrubPeriod, options.RepairBytesPerSecond, options.TopologyPath));
    }

    [Fact]
    public void Scheme_ReplacesThatOfItsClass()
    {
        SchemePolicy policy = Parse("--scheme", "STANDARD=2/8+4", "--scheme=ONEZONE_IA=1/2", "--scheme", "STANDARD_IA=4/10+4@1MiB", "--scheme", "DEEP_ARCHIVE=2/2@1024").Schemes.Policy;
        Assert.Equal(new ClassSchemes(Scheme.Copies(4), new Scheme(10, 4), 1 << 20), policy.For("STANDARD_IA"));
        Assert.Equal(new ClassSchemes(Scheme.Copies(2), Scheme.Copies(2), 1 << 10), policy.For("DEEP_ARCHIVE"));
        Assert.Equal(128 << 10, policy.For("STANDARD").SmallBelowBytes);
        Assert.Equal(new ClassSchemes(Scheme.Copies(2), new Scheme(8, 4)), policy.For("STANDARD"));
        Assert.Equal(new ClassSchemes(Scheme.SingleCopy, Scheme.Copies(2)), policy.For("ONEZONE_IA"));
        Assert.Equal(SchemePolicy.Default.For("GLACIER"), policy.For("GLACIER"));
        Assert.Equal(policy.For("STANDARD"), policy.For("REDUCED_REDUNDANCY"));
        Assert.Contains("once", Assert.Throws<StartException>(() => Parse("--scheme", "GLACIER=3/4+2", "--scheme", "GLACIER=3/6+3")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Schemes_ThatWereAskedForAndNeedMoreDrives_AreRefused_AndDefaultsAreNarrowed()
    {
        SchemeOptions asked = Parse("--scheme", "STANDARD=3/6+3").Schemes;
        Assert.Equal(["DEEP_ARCHIVE", "GLACIER", "STANDARD_IA"], asked.Place(9).Select(narrowed => narrowed.StorageClass));
        StartException refused = Assert.Throws<StartException>(() => asked.Place(8));
        Assert.Contains("6+3 for STANDARD, which needs 9 drives, and there are 8", refused.Message, StringComparison.Ordinal);
        Assert.Empty(Parse().Schemes.Place(20));
        Assert.Contains(new NarrowedScheme("STANDARD", new Scheme(6, 3), new Scheme(5, 3)), Parse().Schemes.Place(8));
        Assert.Contains(new NarrowedScheme("STANDARD", Scheme.Copies(3), Scheme.SingleCopy), Parse().Schemes.Place(1));
    }

    [Theory]
    [InlineData("http://0.0.0.0:80", "0.0.0.0", 80)]
    [InlineData("http://localhost:0", "127.0.0.1", 0)]
    [InlineData("http://[::1]:9000/", "::1", 9000)]
    public void Listen_TakesAddresses(string url, string address, int port)
    {
        SiloOptions options = Parse("--listen", url);
        Assert.Equal((IPAddress.Parse(address), port), (options.Address, options.Port));
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("1", 1)]
    [InlineData("3KiB", 3L << 10)]
    [InlineData("3mib", 3L << 20)]
    [InlineData("2GiB", 2L << 30)]
    [InlineData("1TiB", 1L << 40)]
    public void Size_TakesUnits(string text, long bytes) => Assert.Equal(bytes, Parse("--headroom", text).HeadroomBytes);

    [Theory]
    [InlineData("a,b", "a", "b")]
    [InlineData("d{1...3}", "d1", "d2", "d3")]
    [InlineData(" x{9...10}y , z", "x9y", "x10y", "z")]
    public void Drives_AreListedAndCounted(string list, params string[] expected) => Assert.Equal(expected.Select(Path.GetFullPath), Parse("--drives", list).DrivePaths);

    [Theory]
    [InlineData("--listen", "127.0.0.1:9000")]
    [InlineData("--listen", "https://127.0.0.1:9000")]
    [InlineData("--listen", "http://127.0.0.1:99999")]
    [InlineData("--listen", "http://127.0.0.1:9000/path")]
    [InlineData("--listen", "http://example.com:9000")]
    [InlineData("--headroom", "-1")]
    [InlineData("--headroom", "8MB")]
    [InlineData("--headroom", "MiB")]
    [InlineData("--headroom", "99999999999TiB")]
    [InlineData("--volume-size", "1.5GiB")]
    [InlineData("--garbage-grace", "-1")]
    [InlineData("--garbage-grace", "NaN")]
    [InlineData("--garbage-grace", "1e9")]
    [InlineData("--drain-timeout", "soon")]
    [InlineData("--drain-timeout", "86400.1")]
    [InlineData("--drain-timeout", "100000000")]
    [InlineData("--log-level", "7")]
    [InlineData("--log-format", "xml")]
    [InlineData("--drives", "d{3...1}")]
    [InlineData("--drives", "d{1..3}")]
    [InlineData("--drives", "d{1...99999}")]
    [InlineData("--data", "")]
    [InlineData("--region", "")]
    [InlineData("--down-out-after", "0")]
    [InlineData("--down-out-after", "10m")]
    [InlineData("--scrub-period", "0")]
    [InlineData("--scrub-period", "59.9")]
    [InlineData("--repair-rate", "1023")]
    [InlineData("--repair-rate", "0")]
    [InlineData("--repair-rate", "fast")]
    [InlineData("--topology", "")]
    [InlineData("--scheme", "STANDARD")]
    [InlineData("--scheme", "STANDARD=3")]
    [InlineData("--scheme", "=3/6+3")]
    [InlineData("--scheme", "3/STANDARD=6+3")]
    [InlineData("--scheme", "standard=3/6+3")]
    [InlineData("--scheme", "COLD=3/6+3")]
    [InlineData("--scheme", "STANDARD=2+1/6+3")]
    [InlineData("--scheme", "STANDARD=0/6+3")]
    [InlineData("--scheme", "STANDARD=3/6+0")]
    [InlineData("--scheme", "STANDARD=3/0+3")]
    [InlineData("--scheme", "STANDARD=3/60+5")]
    [InlineData("--scheme", "STANDARD=3/2147483647+2147483647")]
    [InlineData("--scheme", "STANDARD=3/6+3+1")]
    [InlineData("--scheme", "STANDARD=3/6 + 3")]
    [InlineData("--scheme", "STANDARD=3/-6+3")]
    [InlineData("--scheme", "STANDARD=3/6+3@")]
    [InlineData("--scheme", "STANDARD=3/6+3@0")]
    [InlineData("--scheme", "STANDARD=3/6+3@1000")]
    [InlineData("--scheme", "STANDARD=3/6+3@1500")]
    [InlineData("--scheme", "STANDARD=3/6+3@1025KiB")]
    [InlineData("--scheme", "STANDARD=3/6+3@64KiB@64KiB")]
    [InlineData("--scheme", "STANDARD=3@64KiB/6+3")]
    [InlineData("--roles", "gateway")]
    [InlineData("--roles", "silo,storage")]
    [InlineData("--roles", "storage,console")]
    [InlineData("--roles", "")]
    [InlineData("--data-listen", "http://example.com:9100")]
    [InlineData("--data-listen", "http://127.0.0.1:9100")]
    [InlineData("--storage-nodes", "http://127.0.0.1:9100")]
    [InlineData("--storage-nodes", "127.0.0.1:9100")]
    [InlineData("--storage-nodes", "https://127.0.0.1:9100")]
    [InlineData("--storage-nodes", "http://a:1,http://a:1")]
    [InlineData("--storage-nodes", "http://a:1,,http://b:1")]
    [InlineData("--storage-nodes", "http://a:1/path")]
    [InlineData("--storage-nodes", "http://user@a:1")]
    [InlineData("--cluster-id", "one")]
    [InlineData("--cluster-id", "00000000-0000-0000-0000-000000000000")]
    [InlineData("--cluster-secret-file", "")]
    public void ValueThatCannotBeUsed_IsRefusedByItsOptionsName(string option, string value)
    {
        StartException refused = Assert.Throws<StartException>(() => Parse(option, value));
        Assert.Contains(option, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
    }

    [Theory]
    [InlineData("--data")]
    [InlineData("data")]
    [InlineData("--Data", "x")]
    [InlineData("--data ", "x")]
    [InlineData("--format-new-drives=yes")]
    [InlineData("--format-new-drives", "yes")]
    public void WordsThatSayNothing_AreRefused(params string[] words) => Assert.Throws<StartException>(() => Parse(words));

    [Theory]
    [InlineData(null, "12345678")]
    [InlineData("key", null)]
    [InlineData("ke", "12345678")]
    [InlineData("key", "1234567")]
    [InlineData("a/key", "12345678")]
    [InlineData("a key", "12345678")]
    public void KeysOfTheEnvironment_ThatCannotBeUsed_AreRefused_WithoutTheSecret(string? accessKey, string? secret)
    {
        StartException refused = Assert.Throws<StartException>(() => SiloOptions.Parse([], name => name == "OBJECTSTORE_ACCESS_KEY" ? accessKey : secret));
        if (secret is not null) Assert.DoesNotContain(secret, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void KeysOfTheEnvironment_EmptyAreNone() => Assert.Null(SiloOptions.Parse([], _ => "").AccessKey);

    [Fact]
    public void Roles_AreAllUnlessSaid() => Assert.Equal((SiloRoles.All, null), (Parse().Roles, Parse("--roles", "storage,gateway, silo").DataListen));

    [Fact]
    public void RoleStorage_TakesADataListener()
    {
        SiloOptions options = Parse("--roles", "storage", "--data-listen", "http://0.0.0.0:9100", "--cluster-secret-file", "secret", "--cluster-id", "5a0d8f3e-9f5e-4a4c-8a45-0f7a4a6b2c11");
        Assert.Equal((SiloRoles.Storage, new IPEndPoint(IPAddress.Any, 9100), Path.GetFullPath("secret")), (options.Roles, options.DataListen, options.ClusterSecretFile));
        Assert.Equal(new Guid("5a0d8f3e-9f5e-4a4c-8a45-0f7a4a6b2c11"), options.ClusterId);
    }

    [Fact]
    public void FormatNewDrives_IsSaidOrNot() => Assert.Equal((false, true), (Parse().FormatNewDrives, Parse("--format-new-drives", "--region", "x").FormatNewDrives));

    [Fact]
    public void StorageNodes_AreListed()
    {
        SiloOptions options = SiloOptions.Parse(["--storage-nodes", "http://a:9100, http://10.0.0.2:9100/"], name => name == "OBJECTSTORE_CLUSTER_SECRET" ? "a secret of sixteen" : null);
        Assert.Equal([new Uri("http://a:9100"), new Uri("http://10.0.0.2:9100")], options.StorageNodes);
        Assert.Equal("a secret of sixteen", options.ClusterSecretText);
    }

    [Theory]
    [InlineData("--data-listen", "--roles", "storage", "--cluster-secret-file", "f")]
    [InlineData("secret", "--roles", "storage", "--data-listen", "http://0.0.0.0:1")]
    [InlineData("--listen", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--listen", "http://0.0.0.0:2")]
    [InlineData("--region", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--region=x")]
    [InlineData("--storage-nodes", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--storage-nodes", "http://a:1")]
    [InlineData("--topology", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--topology", "t")]
    [InlineData("--scheme", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--scheme", "STANDARD=1/2")]
    [InlineData("--scrub-period", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--scrub-period", "60")]
    [InlineData("--repair-rate", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--repair-rate", "1KiB")]
    [InlineData("--down-out-after", "--roles", "storage", "--data-listen", "http://0.0.0.0:1", "--cluster-secret-file", "f", "--down-out-after", "1")]
    public void OptionsThatDoNotFitTheRole_AreRefused(string named, params string[] words) =>
        Assert.Contains(named, Assert.Throws<StartException>(() => Parse(words)).Message, StringComparison.Ordinal);

    [Fact]
    public void ClusterSecret_GivenTwice_IsRefused_WithoutTheSecret()
    {
        StartException refused = Assert.Throws<StartException>(
            () => SiloOptions.Parse(["--cluster-secret-file", "f"], name => name == "OBJECTSTORE_CLUSTER_SECRET" ? "a secret of sixteen" : null));
        Assert.DoesNotContain("sixteen", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_NamesEveryOptionThatIsParsed()
    {
        foreach (string option in new[] { "data", "drives", "listen", "domain", "region", "volume-size", "headroom", "garbage-grace", "drain-timeout", "log-level", "log-format",
            "topology", "scheme", "down-out-after", "scrub-period", "repair-rate", "roles", "data-listen", "storage-nodes", "cluster-secret-file", "cluster-id", "format-new-drives" })
        {
            Assert.Contains($"  --{option} ", SiloOptions.Help, StringComparison.Ordinal);
        }
    }

    private static SiloOptions Parse(params string[] words) => SiloOptions.Parse(words, _ => null);
}
