using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.Silo.Configuration;

/// <summary>What a request to the admin interface has to show. Never logged; the file is readable by its owner only.</summary>
internal sealed class AdminToken
{
    private const int LeastLength = 32;
    private const int MostLength = 512;
    private readonly byte[] _hash;

    private AdminToken(string token) => _hash = SHA256.HashData(Encoding.UTF8.GetBytes(token));

    /// <summary>Compares in constant time.</summary>
    public bool Matches(string given) => CryptographicOperations.FixedTimeEquals(_hash, SHA256.HashData(Encoding.UTF8.GetBytes(given)));

    /// <summary>The token of the file, which is made on the first start.</summary>
    /// <exception cref="StartException">The file is damaged, or cannot be read or written.</exception>
    public static AdminToken Load(string file)
    {
        try
        {
            if (!File.Exists(file))
            {
                string made = RandomNumberGenerator.GetString("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 48);
                DurableFile.Write(file, Encoding.ASCII.GetBytes(made + "\n"), UnixFileMode.UserRead | UnixFileMode.UserWrite);
                return new AdminToken(made);
            }

            string token = File.ReadAllText(file).Trim();
            return token.Length is >= LeastLength and <= MostLength && token.All(char.IsAsciiLetterOrDigit)
                ? new AdminToken(token)
                : throw new StartException($"'{file}' holds no token of {LeastLength} to {MostLength} letters and digits; delete it, and the next start makes one");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"'{file}' cannot be used: {e.Message}", e);
        }
    }
}
