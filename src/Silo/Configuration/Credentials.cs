using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using ObjectStore.S3.Signing;

namespace ObjectStore.Silo.Configuration;

/// <summary>The node's access key and secret. Never logged; the file is readable by its owner only.</summary>
internal sealed class Credentials(string accessKey, string secret, bool isNew) : ICredentialStore
{
    private readonly SecretKey _secretKey = new(secret);

    public string AccessKey => accessKey;

    /// <summary>True on the first start, when the pair was made and is printed once.</summary>
    public bool IsNew => isNew;

    /// <summary>The secret, for the one print at the first start.</summary>
    public string Secret => secret;

    public bool TryGetSecret(string key, [NotNullWhen(true)] out SecretKey? found)
    {
        found = string.Equals(key, accessKey, StringComparison.Ordinal) ? _secretKey : null;
        return found is not null;
    }

    /// <summary>The pair from the environment, or from the file, which is made on the first start from a secure random source.</summary>
    /// <exception cref="StartException">The file is damaged, or cannot be read or written.</exception>
    public static Credentials Load(string file, string? accessKey, string? secret)
    {
        if (accessKey is not null) return new Credentials(accessKey, secret!, isNew: false);
        try
        {
            return LoadOrMake(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"'{file}' cannot be used: {e.Message}", e);
        }
    }

    private static Credentials LoadOrMake(string file)
    {
        if (!File.Exists(file))
        {
            Stored made = new()
            {
                AccessKey = "OS" + RandomNumberGenerator.GetString("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 18),
                SecretKey = RandomNumberGenerator.GetString("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 40),
            };
            DurableFile.Write(file, JsonSerializer.SerializeToUtf8Bytes(made, SiloJson.Default.Stored), UnixFileMode.UserRead | UnixFileMode.UserWrite);
            return new Credentials(made.AccessKey, made.SecretKey, isNew: true);
        }

        try
        {
            Stored? stored = JsonSerializer.Deserialize(File.ReadAllBytes(file), SiloJson.Default.Stored);
            if (stored is { AccessKey.Length: >= 3, SecretKey.Length: >= 8 }) return new Credentials(stored.AccessKey, stored.SecretKey, isNew: false);
        }
        catch (JsonException e)
        {
            throw new StartException($"'{file}' is damaged: {e.Message}", e);
        }

        throw new StartException($"'{file}' is damaged: it holds no access key and secret");
    }

    internal sealed class Stored
    {
        [JsonPropertyName("accessKey")]
        public string AccessKey { get; set; } = "";

        [JsonPropertyName("secretKey")]
        public string SecretKey { get; set; } = "";
    }
}
